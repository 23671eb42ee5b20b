"""How many calls a model takes at once, and who waits for a place."""

from __future__ import annotations

import asyncio
from collections import deque

from glowplug.errors import NotReady

Waiter = asyncio.Future[None]


class Slots:
    """Places for calls, given in the order of asking; none while closed.

    After a crash that nobody could be blamed for, `try_out` offers one place until as many calls have ended well:
    whoever crashes the process then was alone in it.
    """

    def __init__(self) -> None:
        self._size = 0
        self._used = 0
        self._trials = 0
        self._waiting: deque[Waiter] = deque()

    @property
    def size(self) -> int:
        """Return how many places are offered."""
        return min(1, self._size) if self._trials else self._size

    @property
    def free(self) -> int:
        """Return how many calls could begin now."""
        return max(0, self.size - self._used - len(self._waiting))

    @property
    def is_trying_out(self) -> bool:
        """Say whether calls run one at a time to find out which one crashes."""
        return self._trials > 0

    def open(self, size: int) -> None:
        """Offer `size` places."""
        self._size = size
        self._wake()

    def try_out(self, calls: int) -> None:
        """Offer one place until `calls` calls have ended well."""
        self._trials = max(self._trials, calls)

    def close(self, why: NotReady) -> None:
        """Offer nothing; those that wait get `why`. All places count as free again."""
        self._size = self._used = 0
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(why)

    def enter(self) -> Waiter | None:
        """Take a place: None if there is one now, else a future that is done when it is there, or never will be."""
        if self.free > 0:
            self._used += 1
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def give_up(self, waiter: Waiter) -> None:
        """Stop waiting; a place that was given just now goes to the next."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.leave(ended_well=0)

    def leave(self, *, ended_well: int = 1) -> None:
        """Give a place back, on which `ended_well` calls have ended without a crash."""
        self._used = max(0, self._used - 1)
        self._trials = max(0, self._trials - ended_well)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._used < self.size:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._used += 1
                waiter.set_result(None)
