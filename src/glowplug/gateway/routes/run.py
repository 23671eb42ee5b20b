"""The route of direct calls: the body goes to a ready worker unread, and so does its answer on the way back."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.departure import CLIENT_CLOSED_REQUEST, while_present
from glowplug.gateway.direct import Reply
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import JobView, Submit
from glowplug.gateway.service import Gateway
from glowplug.gateway.streamed import Streamed
from glowplug.gateway.subjects import subject_of

_object = msgspec.json.Decoder(dict[str, object])


def router(gateway: Gateway) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["run"])
    limits = gateway.policy.limits

    @routes.post("/v1/run/{task}", **described(None, {200: None, 202: JobView}))
    async def run(task: str, request: Request) -> Response:
        """Call a task directly; the body is its input. With `Prefer: respond-async` a job is queued instead (202)."""
        body = await bodies.read(request, limits.call_bytes)
        if "respond-async" in bodies.preferences(request):
            return await _queued(gateway, task, body, request)
        subject = subject_of(request)
        if not subject.sees_all:
            # Else the worker, who sees everything, would open another's files for this one.
            info = gateway.catalog.task(task)
            schema = info.input_schema if info else {}
            await gateway.jobs.check_references(bodies.decode(_object, body), schema, subject)
        reply = await while_present(request, gateway.direct.run(task, body))
        return _response(reply) if reply is not None else Response(status_code=CLIENT_CLOSED_REQUEST)

    return routes


async def _queued(gateway: Gateway, task: str, body: bytes, request: Request) -> Response:
    wish = Submit(task=task, input=bodies.decode(_object, body))
    gateway.jobs.check_size(body)
    key = request.headers.get("idempotency-key")
    (submission,) = await gateway.jobs.submit([wish], subject=subject_of(request), key=key)
    view = await gateway.jobs.view(submission.job)
    return bodies.answer(view, 202, {"Location": view.urls.get, "Preference-Applied": "respond-async"})


def _response(reply: Reply) -> Response:
    if reply.stream is None:
        return Response(reply.body, reply.status, reply.headers)
    return Streamed(reply.stream, reply.stream, headers=reply.headers, status=reply.status)
