"""The child's end of the socket pair: blocking, one reader, many writers."""

from __future__ import annotations

import socket
import threading
from collections import deque

from glowplug.process.protocol import ToChild, ToHost, Unpacker, packed, to_child

READ_BYTES = 1 << 18


class Wire:
    """Messages over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unpacker = Unpacker()
        self._waiting: deque[bytes] = deque()
        self._sending = threading.Lock()

    def send(self, message: ToHost) -> None:
        """Send a message whole; any thread may."""
        data = packed(message)
        with self._sending:
            self._connection.sendall(data)

    def receive(self) -> ToChild | None:
        """Wait for the next message; None once the host is gone. One thread at a time."""
        while not self._waiting:
            try:
                data = self._connection.recv(READ_BYTES)
            except OSError:
                return None
            if not data:
                return None
            self._waiting.extend(self._unpacker.feed(data))
        return to_child.decode(self._waiting.popleft())
