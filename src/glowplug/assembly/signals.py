"""The wish to stop: a signal, heard from the first moment of a process on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from glowplug.lifecycle import cancel


class StopSignal:
    """SIGINT or SIGTERM, heard from its making on; the second one ends the process without further ado.

    Made within a running loop. Unheard, a signal would end the process in the middle of its start, and as the first
    process of a container it would do nothing at all.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._hear, number)

    async def wait(self) -> None:
        """Wait for the signal."""
        await asyncio.shield(self._heard)

    async def allows(self, start: Coroutine[Any, Any, None]) -> bool:
        """Do `start` to its end; False if the signal came first, and it was canceled. Raises what it raises."""
        starting = asyncio.create_task(start, name="start")
        try:
            await asyncio.wait({starting, self._heard}, return_when=asyncio.FIRST_COMPLETED)
            if self._heard.done():
                return False
            await starting
        finally:
            await cancel(starting)
        return True

    def _hear(self, number: signal.Signals) -> None:
        if self._heard.done():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        else:
            self._heard.set_result(None)
