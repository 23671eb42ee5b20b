"""Readiness as it changes: server-sent events and a WebSocket, to any number of readers.

Each reader keeps only the newest picture and waits for its own connection alone, so a slow one skips and delays nobody.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from glowplug.lifecycle import cancel
from glowplug.readiness import Snapshot, State, Subscription
from glowplug.web.answers import OPEN
from glowplug.web.beat import Beat
from glowplug.web.frames import Frame, Frames
from glowplug.web.parts import ReadinessParts

MEDIA_TYPE = "text/event-stream"
HEADERS = {**OPEN, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
OPENING = b"retry: 1000\n\n"
HEARTBEAT = b": still here\n\n"
NORMAL_CLOSE, GOING_AWAY = 1000, 1001


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often something is sent without news."""

    heartbeat_seconds: float = 15.0
    pulse_seconds: float = 1.0


class _Following(Subscription):
    """A subscription that ends when the process leaves, also where it is another board that says so."""

    def __init__(self, after: int) -> None:
        super().__init__(after)
        self.departure = _Departure(self)


class _Departure(Subscription):
    def __init__(self, follower: Subscription) -> None:
        super().__init__()
        # The follower keeps this one; the other way round would be a ring that only the collector opens.
        self._follower = weakref.ref(follower)

    def offer(self, snapshot: Snapshot) -> None:
        if snapshot.state is State.DRAINING:
            self.close()

    def close(self) -> None:
        super().close()
        if (follower := self._follower()) is not None:
            follower.close()


class Streams:
    """The endpoints of both streams over one set of boards."""

    def __init__(self, parts: ReadinessParts, frames: Frames, rhythm: Rhythm = Rhythm()) -> None:
        self._parts = parts
        self._frames = frames
        self._heartbeat = Beat(rhythm.heartbeat_seconds)
        self._pulse = Beat(rhythm.pulse_seconds)

    async def events(self, request: Request) -> Response:
        """Stream the pictures as server-sent events; 204 tells a reader that has the last one not to come back."""
        frame = self._frames.newest()
        if frame.snapshot.state.is_settled and request.headers.get("last-event-id") == str(frame.version):
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=HEADERS)
        return _EventStream(self._send_events)

    async def socket(self, websocket: WebSocket) -> None:
        """Send the picture each second and on each change, and close normally once ready or failed."""
        # The one is what Starlette makes of the other once the connection is open.
        with suppress(WebSocketDisconnect, OSError):
            await websocket.accept()
            await self._send_messages(websocket)

    async def _send_events(self, receive: Receive, send: Send) -> None:
        async def write(chunk: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

        frame = self._frames.newest()
        await write(OPENING + frame.event)
        async with self._follow(frame, self._heartbeat, receive, "http.disconnect") as (news, departure):
            while not (frame.is_last or news.closed):
                snapshot = await news.heard()
                if snapshot is not None:
                    frame = self._frames.of(snapshot)
                    await write(frame.event)
                elif not news.closed:
                    await write(HEARTBEAT)
            if not departure.done():
                await write(b"", more=False)

    async def _send_messages(self, websocket: WebSocket) -> None:
        frame = self._frames.newest()
        await websocket.send_text(frame.message)
        async with self._follow(frame, self._pulse, websocket.receive, "websocket.disconnect") as (news, departure):
            while not (frame.is_last or news.closed):
                snapshot = await news.heard()
                if not news.closed:
                    frame = self._frames.newest() if snapshot is None else self._frames.of(snapshot)
                    await websocket.send_text(frame.message)
            if not departure.done():
                await websocket.close(NORMAL_CLOSE if frame.snapshot.state.is_settled else GOING_AWAY)

    @asynccontextmanager
    async def _follow(
        self, frame: Frame, beat: Beat, receive: Receive, farewell: str
    ) -> AsyncIterator[tuple[Subscription, asyncio.Task[None]]]:
        """Yield what comes after `frame`, nudged by `beat`, and the task that ends it once the reader has left."""
        news = self._parts.told.join(_Following(frame.version))
        if self._parts.own is not self._parts.told:
            self._parts.own.join(news.departure)
        departure = asyncio.create_task(_departed(receive, farewell, news))
        try:
            with beat.nudging(news):
                yield news, departure
        finally:
            news.close()
            await cancel(departure)


class _EventStream(Response):
    """A response without an end of its own; lighter than a task group for each of a thousand readers."""

    media_type = MEDIA_TYPE

    def __init__(self, write: Callable[[Receive, Send], Awaitable[None]]) -> None:
        self._write = write
        self.status_code = HTTPStatus.OK
        self.background = None
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then whatever there is to tell until the end or until the reader has left."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        # Newer servers say so when they are told to send to somebody who has left.
        with suppress(OSError):
            await self._write(receive, send)
        if self.background is not None:
            await self.background()


async def _departed(receive: Callable[[], Awaitable[Message]], farewell: str, news: Subscription) -> None:
    """Close the subscription once the reader has left; what else it sends is dropped."""
    while (await receive())["type"] != farewell:
        continue
    news.close()
