"""Lanes: a bound on how much is under way at once, and on how much of it is for one and the same target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lanes:
    """`limit` lanes in all, at most `limit_of_one` of them taken by one target; who comes first goes first."""

    def __init__(self, limit: int, limit_of_one: int) -> None:
        self._limit_of_one = limit_of_one
        self._all = asyncio.Semaphore(limit)
        self._targets: dict[str, _Target] = {}

    def waiting(self, target: str) -> int:
        """Return how many wait for this target."""
        found = self._targets.get(target)
        return 0 if found is None else max(0, found.users - self._limit_of_one)

    @asynccontextmanager
    async def one(self, target: str) -> AsyncIterator[None]:
        """Take a lane for a while; the empty target has no bound of its own."""
        if not target:
            async with self._all:
                yield
            return
        own = self._targets.setdefault(target, _Target(self._limit_of_one))
        own.users += 1
        try:
            # First its own: else those who wait for a slow target would stand in everybody's way.
            async with own.gate, self._all:
                yield
        finally:
            own.users -= 1
            if own.users == 0:
                del self._targets[target]


class _Target:
    def __init__(self, limit: int) -> None:
        self.gate = asyncio.Semaphore(limit)
        self.users = 0
