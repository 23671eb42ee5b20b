"""What a loop waits on: a ring from anybody, or a moment of the clock."""

from __future__ import annotations

import asyncio

from glowplug.clock import Clock


class Bell:
    """Wakes one waiting loop. Rings before the wait count; many rings wake it once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the loop that waits, or the next wait."""
        self._rung.set()

    def hush(self) -> None:
        """Forget a ring that nobody has waited for."""
        self._rung.clear()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a ring, for `seconds` at most; say whether it rang."""
        if seconds is None or self._rung.is_set():
            await self._rung.wait()
        elif seconds > 0:
            await self._wait_for(seconds)
        rang = self._rung.is_set()
        self._rung.clear()
        return rang

    async def _wait_for(self, seconds: float) -> None:
        waits = (asyncio.ensure_future(self._rung.wait()), asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
