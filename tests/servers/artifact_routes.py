"""A small gateway that serves the internal routes of artifacts from any store, for the worker's side to talk to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import format_datetime

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from glowplug.artifact import ArtifactStore, Stat
from glowplug.errors import Corrupt, GlowplugError, NotFound, Unauthorized

TOKEN = "worker-token"
PATH = "/api/internal/artifacts"


@asynccontextmanager
async def serving(store: ArtifactStore) -> AsyncIterator[str]:
    """Serve `store` on a free port until the block ends; yield the base URL."""
    config = uvicorn.Config(
        artifact_app(store), port=0, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def artifact_app(store: ArtifactStore) -> Starlette:
    routes = Routes(store)
    return Starlette(
        routes=[
            Route(PATH, routes.list, methods=["GET"]),
            Route(f"{PATH}/{{key:path}}", routes.one, methods=["GET", "HEAD", "PUT", "DELETE"]),
        ],
        exception_handlers={GlowplugError: _problem},
    )


class Routes:
    """The routes; `lie` makes the answer to a PUT tell another digest."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def list(self, request: Request) -> Response:
        _check(request)

        async def lines() -> AsyncIterator[bytes]:
            async for found in self._store.walk(request.query_params.get("prefix", "")):
                line = {"key": found.key, "size_bytes": found.size_bytes, "modified_at": found.modified_at.isoformat()}
                yield json.dumps(line).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def one(self, request: Request) -> Response:
        _check(request)
        key = request.path_params["key"]
        if request.method == "PUT":
            return await self._put(request, key)
        if request.method == "DELETE":
            await self._store.delete(key)
            return Response(status_code=204)
        found = await self._store.stat(key)
        if request.method == "HEAD":
            return Response(headers=_headers(found, found.size_bytes))
        return await self._get(request, found)

    async def _put(self, request: Request, key: str) -> Response:
        said = request.headers.get("X-Content-SHA256")
        stored = await self._store.put(
            key, _checked(request.stream(), said), media_type=request.headers.get("Content-Type", "")
        )
        return JSONResponse({"key": key, "size_bytes": stored.size_bytes, "sha256": stored.sha256}, status_code=201)

    async def _get(self, request: Request, found: Stat) -> Response:
        start, end = 0, found.size_bytes
        wanted = request.headers.get("Range")
        if wanted and request.headers.get("If-Range") in (None, _version(found)):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else found.size_bytes, found.size_bytes)
            if start >= found.size_bytes:
                return Response(status_code=416)
        else:
            wanted = None
        headers = _headers(found, end - start)
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size_bytes}"
        return StreamingResponse(
            self._store.read(found.key, start=start, end=end), status_code=206 if wanted else 200, headers=headers
        )


async def _checked(chunks: AsyncIterator[bytes], said: str | None) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if said is not None and digest.hexdigest() != said:
        raise Corrupt("the bytes are not those whose digest was announced")


def _check(request: Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise Unauthorized("the worker token is missing or wrong")
    if request.path_params.get("key") == "":
        raise NotFound("no key")


def _headers(found: Stat, length: int) -> dict[str, str]:
    return {
        "Content-Length": str(length),
        "Last-Modified": format_datetime(found.modified_at, usegmt=True),
        "ETag": _version(found),
    }


def _version(found: Stat) -> str:
    return f'"{found.modified_at.timestamp()}-{found.size_bytes}"'


async def _problem(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, GlowplugError)
    body = {"status": error.status, "code": error.code, "detail": error.message, **error.data}
    return JSONResponse(body, error.status, media_type="application/problem+json")
