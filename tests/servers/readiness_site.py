"""A site with an overlay on its page, in the test's own loop: the real routes over a board, or a script to play.

A front stands before it that answers as broken proxies do, where a test says so.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from glowplug.errors import Conflict
from glowplug.readiness import Board
from glowplug.readiness.warm_up import WarmUp
from glowplug.web.overlay import overlay
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import local_only
from glowplug.web.routes import readiness_routes

HTML = [(b"content-type", b"text/html")]


class Front:
    """Passes on to `app`, except while `status` is set or for paths that are `blocked` or `swallowed`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[asyncio.Task[None]] = set()
        self.status: int | None = None
        self.blocked: set[str] = set()
        self.swallowed: set[str] = set()
        self.seen: list[str] = []

    def count(self, path: str) -> int:
        """Return how many requests began with `path`."""
        return sum(one.startswith(path) for one in self.seen)

    def cut(self) -> None:
        """Break every connection that is open."""
        for task in self._open:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        self.seen.append(path)
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await self._answer(path, scope, receive, send)
        finally:
            self._open.discard(task)

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        is_ready_route = any(part in path for part in ("ready", "/ws/"))
        if any(one in path for one in self.swallowed):
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
            )
            await asyncio.Event().wait()
        elif any(one in path for one in self.blocked) or (self.status and is_ready_route):
            await _refuse(self.status or 503, scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _refuse(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    await send({"type": "http.response.start", "status": status, "headers": HTML})
    await send({"type": "http.response.body", "body": b"<html><h1>Bad gateway</h1></html>"})


class Site:
    """One page at `/`, and beside it whatever `routes` are given."""

    def __init__(self, routes: Sequence[Any]) -> None:
        self.markup = ""
        self.headers: dict[str, str] = {}
        self.front = Front(Starlette(routes=[Route("/", self._page), *routes]))
        self.url = ""

    async def _page(self, request: Request) -> Response:
        del request
        return HTMLResponse(PAGE.format(markup=self.markup), headers=self.headers)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve on a free port of this machine."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            config = uvicorn.Config(self.front, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
            server = _Server(config)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield
            finally:
                server.should_exit = True
                self.front.cut()
                await task


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>An app</title>
<meta name="viewport" content="width=device-width">
<script type="module" src="/glowplug/overlay.js"></script>
</head><body>{markup}<main><h1>An app</h1><button id="own">Own button</button></main></body></html>"""


class BoardSite(Site):
    """The real routes over a real board with two required components, chat and tts, and work that needs both."""

    def __init__(self, token: str | None = None) -> None:
        self.board = Board()
        self.board.add("chat", label="Chat", model="tiny-chat")
        self.board.add("tts", label="Speech", model="tiny-voice")
        self.retried: list[tuple[str, ...]] = []
        self.worked: list[str] = []
        self.early_status = 425
        parts = ReadinessParts(own=self.board, actions=self, permit=local_only(token))
        super().__init__([*readiness_routes(parts), Route("/work", self._work, methods=["GET", "POST"])])

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        """Begin what failed once more."""
        failed = [one for one in self.board.components if one.status.is_failed and (not names or one.name in names)]
        if not failed:
            raise Conflict("nothing failed")
        self.retried.append(tuple(one.name for one in failed))
        for one in failed:
            one.begin()
        return [one.name for one in failed]

    async def warm_up(self) -> Sequence[WarmUp]:
        """Warm nothing."""
        return []

    async def _work(self, request: Request) -> Response:
        self.worked.append(request.method)
        if self.board.is_ready():
            return JSONResponse({"done": request.method, "body": (await request.body()).decode()})
        return JSONResponse({"ready": False}, self.early_status, {"Retry-After": "1"})


class ScriptSite(Site):
    """Says on its readiness routes what a test has it say, so that clocks can be wound against it."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}
        self._news: list[asyncio.Queue[dict[str, Any]]] = []
        super().__init__(
            [
                Route("/api/ready", self._ready),
                Route("/ready", self._probe),
                Route("/stream", self._stream),
                Route("/api/ready/retry", self._retry, methods=["POST"]),
                Route("/glowplug/overlay.js", overlay),
            ]
        )
        self.retry_answer: tuple[int, dict[str, str]] = (202, {})
        self.retry_headers: list[dict[str, str]] = []
        self.cross_origin: dict[str, str] = {}

    def say(self, body: dict[str, Any]) -> None:
        """Answer with `body` from now on, and send it to all who listen."""
        self.body = body
        for queue in self._news:
            queue.put_nowait(body)

    async def _ready(self, request: Request) -> Response:
        del request
        return JSONResponse(self.body, headers=self.cross_origin)

    async def _probe(self, request: Request) -> Response:
        del request
        return JSONResponse({"ready": False, "links": {"self": "api/ready"}}, 503, {"Retry-After": "1"})

    async def _retry(self, request: Request) -> Response:
        self.retry_headers.append(dict(request.headers))
        status, headers = self.retry_answer
        return JSONResponse({}, status, headers)

    async def _stream(self, request: Request) -> Response:
        del request
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=self.cross_origin)

    async def _events(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        queue.put_nowait(self.body)
        self._news.append(queue)
        try:
            while True:
                yield f"data: {json.dumps(await queue.get())}\n\n"
        finally:
            self._news.remove(queue)
