"""A worker's port that streams what it is told to, a value for each word, and notices who hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n"


class Singer:
    """Yields each word, and after the first waits until it is `released`."""

    def __init__(self, released: asyncio.Event) -> None:
        self._released = released
        self.left = asyncio.Event()
        self.error: dict[str, Any] | None = None

    @asynccontextmanager
    async def singing(self) -> AsyncIterator[str]:
        """Answer while the block runs; yield the URL."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        words = json.loads(await reader.readexactly(length))["text"].split()
        writer.write(HEAD)
        singing = asyncio.ensure_future(self._sing(writer, words))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait([singing, gone], return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left.set()
        singing.cancel()
        gone.cancel()
        writer.close()

    async def _sing(self, writer: asyncio.StreamWriter, words: list[str]) -> None:
        for number, word in enumerate(words):
            writer.write(_event({"text": f"{word} ", "number": number} if number else f"{word} "))
            await writer.drain()
            await self._released.wait()
        writer.write(_event(self.error, "error") if self.error else _event({}, "done"))
        await writer.drain()


def _event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()
