"""Many workers' pictures into one: what a gateway has to offer."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from glowplug.clock import Clock
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.feed import Feed, first_version
from glowplug.readiness.shown import Shown
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import Status

_ORDER = (
    (Status.DRAINING,),
    (Status.UNAVAILABLE,),
    (Status.ERROR,),
    (Status.SLEEPING,),
    (Status.PENDING, Status.FETCHING, Status.LOADING, Status.WARMING),
    (Status.READY,),
)
_RANKS = {status: rank for rank, statuses in enumerate(_ORDER) for status in statuses}
_STEPS = tuple(Status)


def merge(snapshots: Iterable[Snapshot], *, version: int, taken_at: datetime) -> Snapshot:
    """Join the models of several workers: each is as far as the furthest worker has brought it.

    A model is ready when at least one worker's is, loading when one is on its way, and failed only where none is
    left that could still come. Components without a model (a worker's own connections) stay the worker's affair.
    """
    furthest: dict[str, ComponentSnapshot] = {}
    known = list(snapshots)
    for one in (one for snapshot in known for one in snapshot.components if one.model is not None):
        other = furthest.setdefault(one.name, one)
        best = max(other, one, key=_how_far)
        # Required by one worker is required: what nobody else misses must not look done.
        furthest[one.name] = replace(best, required=one.required or other.required)
    return Snapshot.of(
        furthest.values(),
        version=version,
        taken_at=taken_at,
        gpu_available=any(snapshot.gpu_available for snapshot in known),
    )


class MergedBoard(Feed):
    """What a gateway knows of its workers' models: their reports, joined on every look."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._version = first_version(clock)
        self._reports: dict[str, tuple[float, Snapshot]] = {}
        self._shown = Shown()

    @property
    def version(self) -> int:
        """Return the version of the picture of this moment; cheaper than the picture, and never waits."""
        return self._version

    def report(self, source: str, snapshot: Snapshot) -> None:
        """Take a worker's newest picture; one that says the same as its last is no news."""
        with self._lock:
            known = self._reports.get(source)
            self._reports[source] = (self._clock.monotonic(), snapshot)
            if known is not None and _says_the_same(snapshot, known[1]):
                return
            if known is not None and _was_started_anew(snapshot, known[1]):
                self._shown.forget()
            self._version += 1
        self.publish()

    def forget(self, source: str) -> None:
        """Take a worker that is gone out of the picture."""
        with self._lock:
            if self._reports.pop(source, None) is None:
                return
            # What it had brought so far is lost, and whoever follows it begins anew.
            self._shown.forget()
            self._version += 1
        self.publish()

    def snapshot(self) -> Snapshot:
        """Return the join of the reports, each aged by the time since it came; from any thread."""
        with self._lock:
            now, version, reports = self._clock.monotonic(), self._version, list(self._reports.values())
            aged = [snapshot.aged(now - received) for received, snapshot in reports]
            return self._shown.never_back(merge(aged, version=version, taken_at=self._clock.now()))


def _says_the_same(new: Snapshot, old: Snapshot) -> bool:
    return replace(new, version=old.version, taken_at=old.taken_at) == old


def _was_started_anew(new: Snapshot, old: Snapshot) -> bool:
    """Say whether a load is behind what it was: no attempt goes back, so it must be another process's."""
    before = {one.name: (one.attempt, one.percent) for one in old.components}
    return any((one.attempt, one.percent) < before.get(one.name, (0, 0.0)) for one in new.components)


def _how_far(one: ComponentSnapshot) -> tuple[int, float, int]:
    return _RANKS[one.status], one.percent, _STEPS.index(one.status)
