"""The host's end of the socket pair: an asyncio protocol that writes together what is sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from glowplug.errors import BugError
from glowplug.process.protocol import ToChild, ToHost, Unpacker, packed, to_host


class Channel(asyncio.Protocol):
    """Messages of one process. `hear` gets each; `damaged` is called when the stream makes no sense any more."""

    def __init__(self, hear: Callable[[ToHost], None], damaged: Callable[[Exception], None]) -> None:
        self._hear = hear
        self._damaged = damaged
        self._loop = asyncio.get_running_loop()
        self._unpacker = Unpacker()
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def send(self, message: ToChild) -> None:
        """Send a message at the end of this turn of the loop, with all others of the turn."""
        # One write for all calls that were begun in this turn: at many small calls, system calls are the cost.
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed(message))

    def close(self) -> None:
        """Close our end."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into messages and pass them on."""
        try:
            for body in self._unpacker.feed(data):
                self._hear(to_host.decode(body))
        except (BugError, msgspec.DecodeError) as error:
            self._damaged(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more will come."""
        del exc
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
