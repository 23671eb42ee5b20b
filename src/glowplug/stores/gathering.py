"""Gathering: calls of one kind that come while one is under way go together in the next.

A database that is asked over a network answers ten rows in the time of one, and ten questions in ten times that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from glowplug.errors import RemoteError

A = TypeVar("A")
R = TypeVar("R")
MOST_CALLS = 128


@dataclass(frozen=True, slots=True)
class _Call:
    items: Sequence[Any]
    answer: asyncio.Future[list[Any]]


class Gathering(Generic[A, R]):
    """Runs `run` on the items of all the calls that wait, one run at a time; it answers each item, in order.

    A run that fails for another reason than a server that is away is made again for each call on its own, so that one
    call cannot spoil its neighbours'. Belongs to one event loop.
    """

    def __init__(self, run: Callable[[Sequence[A]], Awaitable[Sequence[R]]]) -> None:
        self._run = run
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[A]) -> list[R]:
        """Return the answers to `items`, with what `run` raises."""
        if not items:
            return []
        call = _Call(items, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="gathering")
        answer: list[R] = await call.answer
        return answer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:MOST_CALLS], self._waiting[MOST_CALLS:]
                if still := [call for call in calls if not call.answer.done()]:
                    await self._run_all(still)
        finally:
            self._task = None

    async def _run_all(self, calls: Sequence[_Call]) -> None:
        try:
            answers = list(await self._run([item for call in calls for item in call.items]))
        except Exception as error:  # noqa: BLE001 - whoever called gets it
            await self._failed(calls, error)
            return
        for call in calls:
            mine, answers = answers[: len(call.items)], answers[len(call.items) :]
            if not call.answer.done():
                call.answer.set_result(mine)

    async def _failed(self, calls: Sequence[_Call], error: Exception) -> None:
        if len(calls) > 1 and not isinstance(error, RemoteError):
            for call in calls:
                await self._run_all([call])
            return
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(error)
