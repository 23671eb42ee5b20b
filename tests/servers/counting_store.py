"""A store on disk that counts what is read from it, and stops or fails where a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from glowplug.artifact import Stat
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.errors import GlowplugError


class CountingStore(DiskArtifacts):
    """Remembers each read as key, start and length.

    `stall_at` names the first byte that is not delivered until `go_on` says so; `failures` are raised by the next
    reads, one each; `bend` changes what is read.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, int, int]] = []
        self.stall_at: int | None = None
        self.go_on = asyncio.Event()
        self.stalled = asyncio.Event()
        self.failures: list[GlowplugError] = []
        self.bend: Callable[[str, bytes], bytes] = lambda key, piece: piece
        self.starts = 0

    async def _start(self) -> None:
        self.starts += 1
        await super()._start()

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes, as the test has it."""
        if self.failures:
            raise self.failures.pop()
        if self.stall_at is not None and start >= self.stall_at:
            self.stalled.set()
            await self.go_on.wait()
        length = 0
        async for piece in super().read(key, start=start, end=end):
            length += len(piece)
            yield self.bend(key, piece)
        self.reads.append((key, start, length))

    async def stat(self, key: str) -> Stat:
        """Fail if that is wanted, else answer."""
        if self.failures:
            raise self.failures.pop()
        return await super().stat(key)

    def bytes_read(self) -> int:
        """Return how many bytes went out in all."""
        return sum(length for _, _, length in self.reads)
