"""Routes of artifacts: for callers, who see what is finished, and for workers, who write what they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from glowplug.artifact import Stat, checked_key
from glowplug.gateway import bodies
from glowplug.gateway.bodies import too_large
from glowplug.gateway.documents import described
from glowplug.gateway.downloads import download, stated_media_type
from glowplug.gateway.schemas import ArtifactView, artifact_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.shelf import Found
from glowplug.gateway.subjects import subject_of
from glowplug.model import guess_media_type

LINK_LIFE = timedelta(minutes=15)
_encoder = msgspec.json.Encoder()
HASH_HEADER = "x-content-sha256"


def router(gateway: Gateway) -> APIRouter:
    """Return the callers' routes."""
    routes = APIRouter(tags=["artifacts"])
    shelf, artifacts, links = gateway.shelf, gateway.parts.artifacts, gateway.jobs.links
    presigned, limit_bytes = gateway.policy.direct_links, gateway.policy.limits.artifact_bytes

    @routes.put("/v1/artifacts/{name}", status_code=201, **described(None, {201: ArtifactView}))
    async def put(name: str, request: Request) -> Response:
        """Upload a file; the body is its bytes. The answer's `uri` goes into a job's input."""
        media_type = stated_media_type(request.headers.get("content-type"))
        artifact = await shelf.upload(name, _body(request, limit_bytes), media_type)
        view = artifact_view(artifact, links)
        return bodies.answer(view, 201, {"Location": view.url, "ETag": f'"{view.sha256}"'})

    routes.add_api_route(
        "/v1/artifacts/{name}", put, methods=["POST"], status_code=201, **described(None, {201: ArtifactView})
    )

    @routes.get("/v1/artifacts/{key:path}", **described(None, {200: None, 206: None, 304: None}))
    async def get(key: str, request: Request) -> Response:
        """Download an artifact; ranges and `If-None-Match` are understood."""
        found = await shelf.find(key, subject_of(request))
        link = await artifacts.presign(key, "GET", LINK_LIFE) if presigned else None
        return RedirectResponse(link) if link else download(artifacts, found, request.headers)

    @routes.head("/v1/artifacts/{key:path}", include_in_schema=False)
    async def head(key: str, request: Request) -> Response:
        """Return what GET would say, without the bytes."""
        return download(artifacts, await shelf.find(key, subject_of(request)), request.headers, head=True)

    @routes.delete("/v1/artifacts/{key:path}", status_code=204, **described(None, {204: None}))
    async def delete(key: str, request: Request) -> Response:
        """Delete an upload."""
        await shelf.delete(key, subject_of(request))
        return Response(status_code=204)

    return routes


def internal_router(gateway: Gateway) -> APIRouter:
    """Return the workers' routes."""
    routes = APIRouter(prefix="/api/internal/artifacts", include_in_schema=False)
    shelf, artifacts = gateway.shelf, gateway.parts.artifacts
    limit_bytes = gateway.policy.limits.artifact_bytes

    @routes.get("")
    async def walk(prefix: str = "", strays: bool = False) -> Response:
        below = checked_key(prefix) if prefix or strays else ""
        lines = _names(artifacts.strays(below)) if strays else _lines(artifacts.walk(below))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @routes.put("/{key:path}")
    async def put(key: str, request: Request) -> Response:
        media_type = stated_media_type(request.headers.get("content-type")) or guess_media_type(key)
        announced = request.headers.get(HASH_HEADER)
        artifact = await shelf.store_for_worker(key, _body(request, limit_bytes), media_type, announced)
        return bodies.answer(artifact, 201)

    @routes.get("/{key:path}")
    async def get(key: str, request: Request) -> Response:
        return download(artifacts, await _any(key), request.headers)

    @routes.head("/{key:path}")
    async def head(key: str, request: Request) -> Response:
        return download(artifacts, await _any(key), request.headers, head=True)

    @routes.delete("/{key:path}")
    async def delete(key: str) -> Response:
        await shelf.check_writable(key)
        await artifacts.delete(key)
        return Response(status_code=204)

    async def _any(key: str) -> Found:
        return Found(await artifacts.stat(checked_key(key)), guess_media_type(key))

    return routes


async def _lines(stats: AsyncIterator[Stat]) -> AsyncIterator[bytes]:
    async for stat in stats:
        yield _encoder.encode(stat) + b"\n"


async def _names(strays: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for stray in strays:
        yield _encoder.encode({"stray": stray}) + b"\n"


def _body(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    return (chunk async for chunk in request.stream() if chunk)
