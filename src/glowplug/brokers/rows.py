"""The embedded broker: the job rows are the queue, so a hint only wakes those who wait in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock
from glowplug.lifecycle import cancel


class RowsBroker(Broker):
    """Counts hints, and wakes every waiter of a task that got one."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._last: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[bool]]] = {}

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Wake those who wait for the tasks of `hints`, and remember the hints for those who are about to."""
        for hint in hints:
            self._count += 1
            self._last[hint.task] = self._count
        for task in {hint.task for hint in hints}:
            _answer(self._waiting.get(task, ()), answer=True)

    def mark(self) -> int:
        """Return how many hints there have been."""
        return self._count

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for a hint for one of `tasks` that came after `since`."""
        if any(self._last.get(task, 0) > since for task in tasks):
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = asyncio.create_task(self._expire(waiter, timeout_seconds))
        for task in tasks:
            self._waiting.setdefault(task, set()).add(waiter)
        try:
            return await waiter
        finally:
            for task in tasks:
                self._leave(task, waiter)
            await cancel(timer)

    async def _expire(self, waiter: asyncio.Future[bool], seconds: float) -> None:
        await self._clock.sleep(seconds)
        _answer([waiter], answer=False)

    def _leave(self, task: str, waiter: asyncio.Future[bool]) -> None:
        waiters = self._waiting.get(task, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiting.pop(task, None)

    async def _stop(self) -> None:
        for waiters in self._waiting.values():
            _answer(waiters, answer=False)


def _answer(waiters: Iterable[asyncio.Future[bool]], *, answer: bool) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(answer)
