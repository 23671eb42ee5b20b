"""A TCP proxy that breaks connections where a test wants them broken."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class BreakingProxy:
    """Passes bytes on to the server at `url` and back.

    `break_answers` and `break_requests` list, for one connection after the other, after how many bytes it is cut;
    those that come when the list is used up are left whole.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self.break_answers: list[int] = []
        self.break_requests: list[int] = []
        self.connections = 0
        self.answered_bytes = 0

    async def __aenter__(self) -> BreakingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._closing.set()
        await asyncio.gather(*self._tasks)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        answer_limit = self.break_answers.pop(0) if self.break_answers else None
        request_limit = self.break_requests.pop(0) if self.break_requests else None
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        ends: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._pass_on(reader, server_writer, request_limit)),
            asyncio.create_task(self._pass_on(server_reader, writer, answer_limit, count=True)),
            asyncio.create_task(self._closing.wait()),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for stream in (writer, server_writer):
            stream.transport.abort()
        await asyncio.sleep(0)
        self._tasks.discard(task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None, *, count: bool = False
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := await reader.read(65536 if limit is None else min(65536, limit - passed)):
                passed += len(data)
                self.answered_bytes += len(data) if count else 0
                writer.write(data)
                await writer.drain()
