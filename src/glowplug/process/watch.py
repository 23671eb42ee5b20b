"""Looks at a living process ten times a second: late loads, silence, too much memory, calls past their limits."""

from __future__ import annotations

from dataclasses import dataclass

from glowplug.clock import Clock
from glowplug.process.calls import Calls
from glowplug.process.death import Death
from glowplug.process.life import Life
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ErrorClass

TICK_SECONDS = 0.1
LOOK_SECONDS = 1.0
LOOKS_PER_STALL = 4
MEMORY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Watched:
    """Who is watched, and how much memory it may use."""

    life: Life
    component: Component
    calls: Calls
    memory_limit_bytes: int | None


class Watch:
    """The watch over one life. What it finds wrong it ends."""

    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._it = watched
        self._clock = clock
        self._looked = self._weighed = clock.monotonic()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            self.look()

    def look(self) -> None:
        """Look once."""
        now = self._clock.monotonic()
        if now - self._looked >= self._look_seconds():
            self._looked = now
            self._take_pulse()
        if self._it.memory_limit_bytes is not None and now - self._weighed >= MEMORY_SECONDS:
            self._weighed = now
            self._weigh(self._it.memory_limit_bytes)
        if not self._it.life.serving:
            self._look_at_load()
        self._it.calls.tick()

    def _look_seconds(self) -> float:
        return min(LOOK_SECONDS, self._it.component.spec.deadlines.stall_seconds / LOOKS_PER_STALL)

    def _take_pulse(self) -> None:
        # Computing and reading count as signs of life: a load that holds the interpreter's lock can send none itself.
        idle = self._it.life.serving and not len(self._it.calls)
        if not idle and self._it.life.vitals.moved():
            self._it.component.alive(attempt=self._it.life.attempt)
            self._it.calls.alive()

    def _look_at_load(self) -> None:
        overdue = self._it.component.expire()
        if overdue is not None:
            self._it.life.kill(Death(overdue.error, overdue.error_class))

    def _weigh(self, limit: int) -> None:
        used = self._it.life.vitals.memory_bytes()
        if used > limit:
            why = f"Out of memory: {_gigabytes(used)} used, the limit is {_gigabytes(limit)}"
            self._it.life.kill(Death(why, ErrorClass.OUT_OF_MEMORY))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
