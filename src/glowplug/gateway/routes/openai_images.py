"""OpenAI's routes of images: each request is a queued job that is waited for, and canceled if the client goes away."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.calls import Calls, renamed
from glowplug.gateway.departure import CLIENT_CLOSED_REQUEST, while_present
from glowplug.gateway.documents import FORM, described
from glowplug.gateway.forms import Form, Lent, read_form
from glowplug.gateway.openai import images
from glowplug.gateway.openai.parameters import knows, typed, wrong
from glowplug.gateway.openai.shapes import ImageEditForm, ImageRequest, OpenAIError
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import Subject, subject_of
from glowplug.job import Job
from glowplug.store import TaskInfo

NUMBERS = ("n", "output_compression")
_NUMBER = re.compile(r"[0-9]{1,18}")


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["openai"])
    calls, limits, pictures = Calls.of(gateway), gateway.policy.limits, _Pictures(gateway)

    @routes.post("/v1/images/generations", **described(ImageRequest, {200: None}, error=OpenAIError))
    async def generate(request: Request) -> Response:
        """Make pictures from a prompt, by a model that serves `images/generations`."""
        wish, body = await bodies.read_object(request, ImageRequest, limits.call_bytes)
        task = await calls.offers.serving("images/generations", wish.model)
        with renamed(images.NAMES):
            job = await calls.submit(task, images.given(task, wish, body), subject_of(request))
            return await finished(request, wish, job)

    @routes.post("/v1/images/edits", **described(ImageEditForm, {200: None}, takes=FORM, error=OpenAIError))
    async def edit(request: Request) -> Response:
        """Change a picture, by a model that serves `images/edits`, or with a mask `images/inpaints`."""
        async with read_form(request, gateway) as form:
            wish = bodies.converted(ImageRequest, _numbered(form.texts))
            operation = "images/inpaints" if form.files.get("mask") else "images/edits"
            task = await calls.offers.serving(operation, wish.model)
            with renamed(images.NAMES):
                job = await _submit_edit(gateway, calls, _Edit(task, wish, form, subject_of(request)))
        with renamed(images.NAMES):
            return await finished(request, wish, job)

    async def finished(request: Request, wish: ImageRequest, job: Job) -> Response:
        done = await while_present(request, calls.completed(job))
        if done is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return bodies.answer(await pictures.answer(request, wish, done))

    return routes


class _Edit(msgspec.Struct, frozen=True):
    task: TaskInfo
    wish: ImageRequest
    form: Form
    subject: Subject


async def _submit_edit(gateway: Gateway, calls: Calls, edit: _Edit) -> Job:
    task, files = edit.task, edit.form.files
    given = images.given(task, edit.wish, typed(task, edit.form.texts))
    found = files.get("image", [])
    if not found:
        raise wrong("image", "a picture to change is needed, as a file of the form")
    if len(found) > 1 and not knows(task, "images"):
        raise wrong("image", f"{edit.wish.model} changes one picture at a time")
    async with Lent(gateway, edit.subject) as lent:
        references = [await lent.add(file, "image") for file in found]
        given["image"] = references[0]
        if len(references) > 1:
            given["images"] = references
        if files.get("mask"):
            given["mask"] = await lent.add(files["mask"][0], "mask")
        job = await calls.submit(task, given, edit.subject)
        # From now on the job's row speaks of them.
        lent.keep()
    return job


def _numbered(texts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: int(value) if name in NUMBERS and isinstance(value, str) and _NUMBER.fullmatch(value) else value
        for name, value in texts.items()
        if name != "stream"
    }


class _Pictures:
    """Makes the answer from a completed job."""

    def __init__(self, gateway: Gateway) -> None:
        self._shelf = gateway.shelf
        self._artifacts = gateway.parts.artifacts
        self._links = gateway.jobs.links
        self._clock = gateway.parts.clock

    async def answer(self, request: Request, wish: ImageRequest, job: Job) -> dict[str, Any]:
        """Return the body, with the pictures in it or links to them."""
        entries = [await self._entry(request, wish, key) for key in images.keys(job.result)]
        return images.answer(int(self._clock.now().timestamp()), entries, wish, job.result)

    async def _entry(self, request: Request, wish: ImageRequest, key: str) -> dict[str, Any]:
        found = await self._shelf.find(key, subject_of(request))
        wanted = images.wants(wish, found.media_type)
        if wish.response_format == "url":
            return {"url": self._url(request, await self._turned(wish, key, wanted) if wanted else key)}
        data = await self._read(key, wish, wanted)
        return {"b64_json": base64.b64encode(data).decode()}

    async def _read(self, key: str, wish: ImageRequest, wanted: str | None) -> bytes:
        data = b"".join([piece async for piece in self._artifacts.read(key)])
        return await asyncio.to_thread(images.encoded, data, wanted, wish.output_compression) if wanted else data

    async def _turned(self, wish: ImageRequest, key: str, wanted: str) -> str:
        name = f"calls/{secrets.token_hex(8)}/image.{wish.output_format}"
        return (await self._shelf.keep(name, await self._read(key, wish, wanted), wanted)).key

    def _url(self, request: Request, key: str) -> str:
        link = self._links.artifact(key)
        return link if "://" in link else str(request.base_url).rstrip("/") + link
