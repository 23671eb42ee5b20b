"""Thousands of readers of one board in one thread: bare sockets, so that the reading side costs next to nothing.

What they read carries marks, `@1234@`: the monotonic nanosecond at which the board was updated. That clock is the same
for all processes of a machine, so a reader knows how old the news is that it gets.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

TURN_SECONDS = 0.02
READ_BYTES = 1 << 18
_MARK = re.compile(rb"@(\d+)@")
_EVENT = re.compile(rb"data:(.*)\r?\n")
_STREAM = b"GET /api/ready/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_SOCKET = (
    b"GET /ws/init/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


@dataclass(eq=False)
class Reader:
    """One open connection; `delays` are the seconds from each update to its first mark here, by the update's mark."""

    connection: socket.socket
    is_socket: bool
    messages: int = 0
    received_bytes: int = 0
    newest: int = 0
    newest_message: bytes = b""
    status: bytes = b""
    delays: dict[int, float] = field(default_factory=dict)
    buffer: bytearray = field(default_factory=bytearray)

    def receive(self) -> bool:
        """Read what has come; False once the other side is gone."""
        try:
            data = self.connection.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        now = time.monotonic_ns()
        self.received_bytes += len(data)
        self.buffer += data
        for message in self._messages():
            self._take(message, now)
        return bool(data)

    def _take(self, message: bytes, now: int) -> None:
        self.messages += 1
        self.newest_message = message
        if (found := _MARK.search(message)) is None:
            return
        mark = int(found[1])
        self.newest = max(self.newest, mark)
        self.delays.setdefault(mark, (now - mark) / 1e9)

    def _messages(self) -> Iterator[bytes]:
        if not self.status and not self._headed():
            return
        yield from self._frames() if self.is_socket else self._events()

    def _headed(self) -> bool:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if end:
            self.status, self.buffer = bytes(head.split(b" ")[1]), bytearray(rest)
        return bool(end)

    def _events(self) -> Iterator[bytes]:
        whole, end, self.buffer = self.buffer.rpartition(b"\n")
        for found in _EVENT.finditer(whole + end):
            yield found[1]

    def _frames(self) -> Iterator[bytes]:
        while (frame := _frame(self.buffer)) is not None:
            kind, message, length = frame
            del self.buffer[:length]
            if kind == _TEXT:
                yield message
            elif kind == _PING:
                self.connection.send(_masked(_PONG, message))


class Crowd:
    """Many readers; `gone` are those whose connection was ended by the other side."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self.readers: list[Reader] = []
        self.gone: list[Reader] = []

    def join(self, streams: int, sockets: int, *, window_bytes: int | None = None) -> list[Reader]:
        """Connect so many readers more; `window_bytes` bounds what the kernel keeps for each."""
        return [self._connect(number >= streams, window_bytes) for number in range(streams + sockets)]

    def stall(self, readers: Iterable[Reader]) -> None:
        """Stop reading at these, their connections open."""
        for reader in readers:
            self._selector.unregister(reader.connection)

    def resume(self, readers: Iterable[Reader]) -> None:
        """Go on reading at these."""
        for reader in readers:
            self._selector.register(reader.connection, selectors.EVENT_READ, reader)

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Read for so long, or until something holds; return whether it does."""
        end = time.monotonic() + seconds
        while not (held := until()) and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(min(left, TURN_SECONDS)):
                if not key.data.receive():
                    self._selector.unregister(key.fileobj)
                    self.gone.append(key.data)
        return held

    def close(self) -> None:
        """End all connections."""
        for reader in self.readers:
            reader.connection.close()
        self._selector.close()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, is_socket: bool, window_bytes: int | None) -> Reader:
        connection = socket.socket()
        connection.settimeout(20)
        if window_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        connection.connect(("127.0.0.1", self._port))
        connection.sendall(_SOCKET % len(self.readers) if is_socket else _STREAM)
        connection.setblocking(False)
        reader = Reader(connection, is_socket)
        self.readers.append(reader)
        self.resume([reader])
        return reader


def _frame(data: bytearray) -> tuple[int, bytes, int] | None:
    """Return kind, message and length of the WebSocket frame (RFC 6455, 5.2) at the start, None until it is whole."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start])
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, bytes(data[start : start + size]), start + size


def _masked(kind: int, message: bytes) -> bytes:
    mask = os.urandom(4)
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(message))
    return bytes((0x80 | kind, 0x80 | len(message))) + mask + body
