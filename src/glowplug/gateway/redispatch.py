"""Redispatch: finds the hints that a broker has lost, by counting, and has them sent again.

A row that is marked as dispatched has its hint at the broker, or on its way to a claim that takes a moment. Where fewer
hints wait than rows are marked, and still do at the next look, those that were sent long ago count as lost. One that
was not lost after all becomes a second hint, which harms nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from glowplug.broker import Broker
from glowplug.clock import Clock
from glowplug.errors import RemoteError
from glowplug.events import emit
from glowplug.gateway.catalog import model_of
from glowplug.gateway.dispatch import Duty
from glowplug.gateway.policy import Pace
from glowplug.store import Depth, Store

# A broker that cannot count, or not exactly, is believed for so many times as long.
BLIND_PATIENCE = 10.0


def marked(depths: Mapping[str, Depth]) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return, by model, the tasks with jobs that are marked as dispatched, and how many those are."""
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    for task, depth in sorted(depths.items()):
        if depth.dispatched:
            tasks, count = found.get(model_of(task), ((), 0))
            found[model_of(task)] = ((*tasks, task), count + depth.dispatched)
    return found


class Redispatch(Duty):
    """Takes the mark off jobs whose hints are lost. `on_lost` hears of it, `on_contact` whether the broker answers."""

    name = "redispatch"

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        pace: Pace,
        *,
        on_lost: Callable[[], None],
        on_contact: Callable[[str | None], None],
    ) -> None:
        super().__init__(pace.reconcile_seconds)
        self._store = store
        self._broker = broker
        self._clock = clock
        self._patience_seconds = pace.redispatch_seconds
        self._on_lost = on_lost
        self._on_contact = on_contact
        self._short: set[str] = set()

    async def turn(self) -> None:
        """Compare every model's marks with what waits at the broker."""
        lost = 0
        found = marked(await self._store.depths())
        self._short &= found.keys()
        for model, (tasks, count) in found.items():
            try:
                waiting = await self._broker.waiting(model)
            except RemoteError as error:
                self._on_contact(error.message)
                return
            self._on_contact(None)
            lost += await self._take_back(model, tasks, self._patience(model, count, waiting))
        if lost:
            self._on_lost()

    def _patience(self, model: str, count: int, waiting: int | None) -> float:
        """Return how long ago a hint must have been sent to count as lost now."""
        if waiting is not None and waiting < count:
            if model in self._short or waiting == 0:
                return self._patience_seconds
            self._short.add(model)
        else:
            self._short.discard(model)
        return self._patience_seconds * BLIND_PATIENCE if waiting is None else float("inf")

    async def _take_back(self, model: str, tasks: Collection[str], seconds: float) -> int:
        if seconds == float("inf"):
            return 0
        lost = await self._store.mark_lost(tasks, self._clock.now() - timedelta(seconds=seconds))
        if lost:
            emit("hints.lost", model=model, jobs=lost)
        return lost
