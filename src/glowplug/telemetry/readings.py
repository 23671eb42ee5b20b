"""Gauges that are read when somebody asks for the metrics, instead of being told by events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from glowplug.clock import Clock
from glowplug.errors import GlowplugError
from glowplug.lifecycle import Startable, cancel
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import Status
from glowplug.store import Depth


@dataclass(frozen=True, slots=True)
class GaugeSpec:
    """A gauge by name, with its labels and one line of meaning."""

    name: str
    labels: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a gauge; `labels` in the order of its spec."""

    gauge: str
    labels: tuple[str, ...]
    value: float


Source = Callable[[], Iterable[Reading]]

GAUGES: Mapping[str, GaugeSpec] = {
    spec.name: spec
    for spec in (
        GaugeSpec("component_state", ("component", "state"), "1 for the state that the component is in"),
        GaugeSpec("component_load_progress_ratio", ("component",), "How far the load is, 0 to 1"),
        GaugeSpec("component_load_eta_seconds", ("component",), "Median of the time left; absent until it is earned"),
        GaugeSpec("queue_jobs", ("task", "state"), "Jobs that wait, may run now, or run"),
        GaugeSpec("queue_oldest_seconds", ("task",), "Age of the oldest job that may run now"),
        GaugeSpec("workers", ("status",), "Workers in the registry"),
    )
}


def component_readings(snapshot: Snapshot) -> Iterator[Reading]:
    """Read the components of a board."""
    for one in snapshot.components:
        for status in Status:
            yield Reading("component_state", (one.name, status.value), float(one.status is status))
        ratio = 1.0 if one.status.can_serve else one.percent / 100
        yield Reading("component_load_progress_ratio", (one.name,), ratio)
        if one.estimate is not None:
            yield Reading("component_load_eta_seconds", (one.name,), one.estimate.p50_seconds)


def queue_readings(depths: Mapping[str, Depth]) -> Iterator[Reading]:
    """Read the queue by task."""
    for task, depth in depths.items():
        for state, count in (("queued", depth.queued), ("due", depth.due), ("running", depth.running)):
            yield Reading("queue_jobs", (task, state), count)
        yield Reading("queue_oldest_seconds", (task,), depth.oldest_seconds)


def worker_readings(statuses: Iterable[str]) -> Iterator[Reading]:
    """Count the workers by status, the absent ones as 0."""
    counted = Counter({"loading": 0, "ready": 0, "error": 0, "draining": 0, "offline": 0})
    counted.update(statuses)
    for status, count in counted.items():
        yield Reading("workers", (status,), count)


class Sampler(Startable):
    """Reads what only an `await` can tell, each `every_seconds`, and is a source of the last that was read."""

    def __init__(
        self, read: Callable[[], Awaitable[Iterable[Reading]]], clock: Clock, *, every_seconds: float = 5.0
    ) -> None:
        self._read = read
        self._clock = clock
        self._every_seconds = every_seconds
        self._last: tuple[Reading, ...] = ()
        self._task: asyncio.Task[None] | None = None

    def __call__(self) -> Iterable[Reading]:
        """Return the last readings."""
        return self._last

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._sample())

    async def _stop(self) -> None:
        await cancel(self._task)

    async def _sample(self) -> None:
        while True:
            try:
                self._last = tuple(await self._read())
            except GlowplugError:
                # The part that failed tells so itself; a gap says more here than an old number.
                self._last = ()
            await self._clock.sleep(self._every_seconds)
