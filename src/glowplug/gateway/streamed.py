"""An answer that streams what a worker yields, and lets go of the worker whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping
from typing import Any, Protocol

import msgspec
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from glowplug.lifecycle import cancel

EVENT_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Source(Protocol):
    """Whatever holds a worker."""

    async def aclose(self) -> None:
        """Let go of it."""


class Streamed(StreamingResponse):
    """Sends `pieces`, which are made of what `source` gives."""

    def __init__(
        self,
        pieces: AsyncIterable[bytes],
        source: Source,
        media_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> None:
        super().__init__(pieces, status, headers, media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end, or until the client has left."""
        del scope
        # Not in a task group of anyio's: it cancels only who waits, and a stream that always has a piece never does.
        sending = asyncio.ensure_future(self.stream_response(send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await cancel(leaving)
            await cancel(sending)
            await self._source.aclose()


class Events(Streamed):
    """Sends server-sent events, which nothing on the way should keep."""

    def __init__(self, events: AsyncIterable[bytes], source: Source) -> None:
        super().__init__(events, source, "text/event-stream", EVENT_HEADERS)


def event(data: Any) -> bytes:
    """Return a server-sent event with `data` as JSON."""
    return format_sse_event(data_str=msgspec.json.encode(data).decode())
