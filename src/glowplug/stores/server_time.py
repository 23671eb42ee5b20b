"""The server's time, for stores that several machines share: one clock for all leases, whatever each machine's says.

The server is asked when a connection is made and now and then; in between, this machine's monotonic clock goes on
from its answer. A question that took d seconds leaves at most d / 2 seconds of doubt (Cristian 1989), so that of
several the quickest is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from glowplug.clock import Clock

QUESTIONS = 3
ASK_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server's clock said at a moment of the monotonic one, and how long the question took."""

    server: datetime
    monotonic: float
    took_seconds: float


class ServerTime(Clock):
    """A clock whose wall time is the server's; for the rest it is `clock`, which also counts until the first answer."""

    def __init__(self, clock: Clock, ask: Callable[[Connection], datetime]) -> None:
        self._clock = clock
        self._ask = ask
        self._reading: Reading | None = None

    def now(self) -> datetime:
        """Return the server's time as of now."""
        reading = self._reading
        if reading is None:
            return self._clock.now()
        return reading.server + timedelta(seconds=self._clock.monotonic() - reading.monotonic)

    def monotonic(self) -> float:
        """Return this machine's monotonic time."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep by this machine's clock."""
        await self._clock.sleep(seconds)

    def ask(self, connection: Connection) -> None:
        """Ask the server some times in a row and believe the quickest answer; safe in any thread."""
        readings = [self._read(connection) for _ in range(QUESTIONS)]
        self._reading = min(readings, key=lambda reading: reading.took_seconds)

    def _read(self, connection: Connection) -> Reading:
        asked = self._clock.monotonic()
        server = self._ask(connection)
        took = self._clock.monotonic() - asked
        return Reading(server, asked + took / 2, took)
