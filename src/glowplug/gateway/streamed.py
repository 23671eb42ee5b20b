"""An answer that streams what a worker yields, and lets go of the worker whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Source(Protocol):
    """Whatever holds a worker."""

    async def aclose(self) -> None:
        """Let go of it."""


class Streamed(StreamingResponse):
    """Sends `pieces`, which are made of what `source` gives."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        source: Source,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(pieces, 200, headers, media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()
