"""Noticing that a client has hung up, for requests that last: watching costs a task, so short ones are spared it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")

WATCH_AFTER_SECONDS = 0.05
CLIENT_CLOSED_REQUEST = 499
"""The status of an answer that nobody is there to read."""


class Departure:
    """Calls `on_gone` once the client of a request, whose body has been read, has closed the connection."""

    def __init__(self, request: Request, on_gone: Callable[[], object]) -> None:
        self._request = request
        self._on_gone = on_gone
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.gone = False

    def __enter__(self) -> Departure:
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait(), name="departure")

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            continue
        self.gone = True
        self._on_gone()


async def while_present(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Do `work` and return its result; if the client hangs up, cancel it and return None."""
    doing = asyncio.ensure_future(work)
    try:
        with Departure(request, doing.cancel) as departure:
            await asyncio.wait((doing,))
    finally:
        doing.cancel()
    return None if departure.gone and doing.cancelled() else doing.result()
