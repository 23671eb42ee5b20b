"""Callers of the readiness routes: a client without a server, a reader of streams, and actions over a board."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from glowplug.errors import Conflict
from glowplug.readiness import Board, Status
from glowplug.readiness.warm_up import WarmUp

LOCAL = "http://127.0.0.1"
BOUND_SECONDS = 20


@asynccontextmanager
async def asking(app: ASGIApp, base_url: str = LOCAL) -> AsyncIterator[httpx.AsyncClient]:
    """Ask an application as a program on this machine would, without a server."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base_url) as client:
        yield client


class Loader:
    """Actions over a board: a retry begins an attempt, a warm-up took what it is told."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.asked: list[tuple[str, ...]] = []
        self.warmed: Sequence[WarmUp] = (WarmUp("tts", 0.25),)
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        self.asked.append(tuple(names))
        if not names:
            raise Conflict("nothing has failed, so there is nothing to retry")
        for name in names:
            if self.board.component(name).status is not Status.ERROR:
                raise Conflict(f"{name} has not failed")
            self.board.component(name).begin()
        return names

    async def warm_up(self) -> Sequence[WarmUp]:
        if not self.board.is_ready():
            raise Conflict("nothing is loaded")
        self.begun.set()
        await self.gate.wait()
        return self.warmed


class Reader:
    """One connection as a server hands it to an application; reads what comes, or stops reading, or leaves."""

    def __init__(self, app: ASGIApp, path: str, kind: str = "http", method: str = "GET", **headers: str) -> None:
        self._app = app
        self._scope: dict[str, Any] = {
            "type": kind,
            "path": path,
            "root_path": "",
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": [],
            **({"method": method} if kind == "http" else {}),
        }
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        opening = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}
        self._heard.put_nowait(opening)
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.pending = 0
        self.most_pending = 0
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reader:
        self.task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        self.reading.set()
        await self.ended()

    async def _serve(self) -> None:
        await self._app(self._scope, self._heard.get, self._send)

    async def _send(self, message: Message) -> None:
        self.pending += 1
        self.most_pending = max(self.pending, self.most_pending)
        await self.reading.wait()
        self.pending -= 1
        self._sent.put_nowait(message)

    async def next(self) -> Message:
        """Return the next message that the application sends."""
        async with asyncio.timeout(BOUND_SECONDS):
            return await self._sent.get()

    async def chunk(self) -> bytes:
        """Return the body of the next message."""
        body: bytes = (await self.next())["body"]
        return body

    async def event(self) -> dict[str, Any]:
        """Return the data of the next event, beyond heartbeats."""
        while True:
            for line in (await self.chunk()).splitlines():
                if line.startswith(b"data: "):
                    data: dict[str, Any] = json.loads(line[6:])
                    return data

    async def text(self) -> dict[str, Any]:
        """Return the next message of a WebSocket."""
        data: dict[str, Any] = json.loads((await self.next())["text"])
        return data

    def say(self, message: Message) -> None:
        """Send something to the application."""
        self._heard.put_nowait(message)

    def leave(self) -> None:
        """Break the connection."""
        kind = "websocket" if self._scope["type"] == "websocket" else "http"
        self.say({"type": f"{kind}.disconnect", "code": 1001})

    async def ended(self) -> None:
        """Wait until the application is done with this connection, and raise what it raised."""
        assert self.task is not None
        async with asyncio.timeout(BOUND_SECONDS):
            await self.task

    def unread(self) -> list[Message]:
        """Return what was sent and not yet looked at."""
        return [self._sent.get_nowait() for _ in range(self._sent.qsize())]
