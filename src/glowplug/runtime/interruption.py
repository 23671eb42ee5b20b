"""Why a worker should leave: a signal, a notice from the machine's owner, or whoever else knows; as values."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glowplug.lifecycle import Startable
from glowplug.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class Notice:
    """One reason to leave. `seconds` is how long the machine has left, None if nobody said."""

    reason: str
    seconds: float | None = None


class Interruptions(Startable):
    """Notices in the order in which they come; signals are caught while it runs."""

    def __init__(self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self._signals = signals
        self._notices: asyncio.Queue[Notice] = asyncio.Queue()

    def notify(self, notice: Notice) -> None:
        """Pass on a notice that came some other way."""
        self._notices.put_nowait(notice)

    async def next(self) -> Notice:
        """Wait for the next notice."""
        return await self._notices.get()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self.notify, Notice(number.name))

    async def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)


async def serve_until_left(worker: Worker, interruptions: Interruptions) -> bool:
    """Work until the first notice, or an order to leave; then leave in good order.

    Returns True when the worker left in good order, False when a second notice cut that short. Raises the error that a
    loop of the worker ended with.
    """
    closed = asyncio.ensure_future(worker.wait_closed())
    try:
        if notice := await _first(closed, interruptions):
            leaving = asyncio.create_task(worker.drain(notice.reason))
            forced = await _first(closed, interruptions)
            leaving.cancel()
            return forced is None
        return True
    finally:
        closed.cancel()


async def _first(closed: asyncio.Future[None], interruptions: Interruptions) -> Notice | None:
    """Return the next notice, or None when the worker has closed."""
    notice = asyncio.ensure_future(interruptions.next())
    waiting: set[asyncio.Future[Any]] = {closed, notice}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            closed.result()
            return None
        return notice.result()
    finally:
        notice.cancel()
