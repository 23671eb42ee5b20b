"""Time as a value that is handed in, so that tests wind it by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime


class Clock(ABC):
    """The two clocks a service needs, and a sleep that belongs to them."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall time, UTC with a zone; it may jump."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never runs backwards."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock's monotonic time."""


class SystemClock(Clock):
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the machine's wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep in the event loop."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock(Clock):
    """A clock that stands still until `advance` is called.

    Sleepers wake in the order of their deadlines. The wall clock can be set apart from the monotonic one, to try
    what a jumping clock does.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the wall time as wound so far."""
        return self._now

    def monotonic(self) -> float:
        """Return the monotonic seconds as wound so far."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), waiter))
        await waiter

    def jump(self, now: datetime) -> None:
        """Set the wall clock alone, as a time server or a person would."""
        self._now = now

    async def advance(self, seconds: float) -> None:
        """Move both clocks by `seconds`, waking each sleeper at its own moment and letting it run."""
        target = self._monotonic + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, waiter = heapq.heappop(self._sleepers)
            self._move_to(deadline)
            if not waiter.done():
                waiter.set_result(None)
            await _settle()
        self._move_to(target)
        await _settle()

    def _move_to(self, monotonic: float) -> None:
        if monotonic > self._monotonic:
            step = monotonic - self._monotonic
            self._monotonic = monotonic
            self._now = datetime.fromtimestamp(self._now.timestamp() + step, UTC)


async def _settle() -> None:
    # A woken task may wake another one; a few turns of the loop let the chain come to rest.
    for _ in range(10):
        await asyncio.sleep(0)
