"""The server's time: one clock for all leases, whatever each gateway's machine says.

The server is asked at the start and now and then; in between, this machine's monotonic clock goes on from its answer.
A question that took d seconds leaves at most d / 2 seconds of doubt (Cristian 1989), so the quickest is believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from glowplug.clock import Clock

QUESTIONS = 3
ASK_AGAIN_SECONDS = 60.0


class MongoTime:
    """Tells the server's time; before the first answer, that of `clock`."""

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[datetime]]) -> None:
        self._clock = clock
        self._ask = ask
        self._server: datetime | None = None
        self._asked = 0.0

    def now(self) -> datetime:
        """Return the server's time as of now."""
        if self._server is None:
            return self._clock.now()
        return self._server + timedelta(seconds=self._clock.monotonic() - self._asked)

    async def measure(self) -> None:
        """Ask the server some times in a row and believe the quickest answer."""
        readings = [await self._read() for _ in range(QUESTIONS)]
        _, self._asked, self._server = min(readings)

    async def _read(self) -> tuple[float, float, datetime]:
        begun = self._clock.monotonic()
        server = await self._ask()
        took = self._clock.monotonic() - begun
        return took, begun + took / 2, server.replace(tzinfo=server.tzinfo or UTC)
