"""Noticing that a client has hung up, for requests that last: watching costs a task, so short ones are spared it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request

WATCH_AFTER_SECONDS = 0.05


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
