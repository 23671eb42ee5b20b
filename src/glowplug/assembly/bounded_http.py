"""uvicorn's HTTP/1.1 with bounds on what the other side may leave undone.

The head of a request, which anybody can send before any token is looked at, must come; and what is answered must be
taken, or a stream that nobody reads would hold its model for as long as a call may last.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
STALL_SECONDS = 60.0
PATIENT_SECONDS = 600.0
_INT = struct.Struct("i")


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose next request line and headers are too long, or take too long to come.

    The parser itself has no bound: what never ends would be collected for ever. The server makes one for each
    connection. One that takes nothing of its answer for `stall_seconds` is cut; one that takes little is not.
    """

    head_bytes = HEAD_BYTES
    head_seconds = HEAD_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._received_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._answering: list[RequestResponseCycle | None] = []
        self._untaken_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Parse, and close the connection if what is there is no whole head and too long for one."""
        self._received_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._received_bytes > self.head_bytes:
            self.send_400_response("The request's headers are too long.")
        elif self._received_bytes and self._deadline is None:
            self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what follows a body (trailers) is nothing that we read."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the time for this head."""
        self._in_head = False
        self._forget_deadline()
        super().on_headers_complete()
        self._answering = [one for one in (*self._answering, self.cycle) if one and not one.response_complete]

    def on_message_complete(self) -> None:
        """Count from zero: the next bytes are the next head."""
        self._in_head = True
        self._received_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the times, and tell every request: uvicorn tells the last one alone, and others would be worked on."""
        self._forget_deadline()
        self._forget_patience()
        for cycle in self._answering:
            if cycle and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the time in which the other side must take something."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """End that time: the other side has taken enough."""
        self._forget_patience()
        super().resume_writing()

    def _wait_for_head(self) -> None:
        # Only for a head that did not come whole, as nearly all do: a request costs no timer.
        self._deadline = self.loop.call_later(self.head_seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wait_for_reader(self) -> None:
        self._untaken_bytes = self._untaken()
        self._patience = self.loop.call_later(self.stall_seconds, self._look)

    def _look(self) -> None:
        if self._untaken() != self._untaken_bytes:
            self._wait_for_reader()
            return
        self._patience = None
        # Not closed: that would wait until the rest is taken.
        self.transport.abort()

    def _untaken(self) -> int:
        """Return how much of the answer the other side's machine has not acknowledged."""
        ours = self.transport.get_write_buffer_size()
        # The kernel's part too: it takes the next from us in lumps of which a slow reader needs minutes for one.
        with suppress(OSError):
            sent = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(_INT.size))
            return ours + int(_INT.unpack(sent)[0])
        # Not every system tells.
        return ours

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class PatientHttp(BoundedHttp):
    """For a server that a gateway reads from, which takes as little at a time as the slowest of its own callers."""

    stall_seconds = PATIENT_SECONDS
