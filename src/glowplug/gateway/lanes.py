"""Lanes: a bound on how much is under way at once, and on how much of it is for one and the same target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from glowplug.clock import Clock

# How much the newest turn counts in what a target usually takes.
NEWEST = 0.2


class Lanes:
    """`limit` lanes in all, at most `limit_of_one` of them taken by one target; who comes first goes first."""

    def __init__(self, limit: int, limit_of_one: int, clock: Clock) -> None:
        self._limit_of_one = limit_of_one
        self._clock = clock
        self._all = asyncio.Semaphore(limit)
        self._targets: dict[str, _Target] = {}

    def waiting(self, target: str) -> int:
        """Return how many wait for this target."""
        found = self._targets.get(target)
        return 0 if found is None else max(0, found.users - self._limit_of_one)

    def expected_seconds(self, target: str) -> float:
        """Return how long one more would have to wait for this target, by what its turns take and have taken."""
        found = self._targets.get(target)
        if found is None:
            return 0.0
        longest = max((self._clock.monotonic() - since for since in found.since.values()), default=0.0)
        return self.waiting(target) / self._limit_of_one * max(found.usual_seconds, longest)

    @asynccontextmanager
    async def one(self, target: str) -> AsyncIterator[None]:
        """Take a lane for a while; the empty target has no bound of its own."""
        if not target:
            async with self._all:
                yield
            return
        own = self._targets.setdefault(target, _Target(self._limit_of_one))
        own.users += 1
        turn = object()
        try:
            # First its own: else those who wait for a slow target would stand in everybody's way.
            async with own.gate, self._all:
                own.since[turn] = self._clock.monotonic()
                yield
        finally:
            own.over(turn, self._clock.monotonic())
            if own.users == 0:
                del self._targets[target]


class _Target:
    def __init__(self, limit: int) -> None:
        self.gate = asyncio.Semaphore(limit)
        self.users = 0
        self.usual_seconds = 0.0
        self.since: dict[object, float] = {}

    def over(self, turn: object, now: float) -> None:
        self.users -= 1
        since = self.since.pop(turn, None)
        if since is not None:
            self.usual_seconds += NEWEST * (now - since - self.usual_seconds)
