"""Telling the outside when readiness changes: one event for each change that somebody may have to act upon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from glowplug.clock import Clock
from glowplug.lifecycle import Startable, cancel
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.feed import Feed
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import Status
from glowplug.readiness.wire import present, written

CHANGED = "readiness.changed"
ABSENT = "absent"
"""The status of a component that is no longer there: its worker is gone, or it was taken off the board."""

Deliver = Callable[[Mapping[str, Any]], None]
"""Takes an event and returns at once."""


class Alerts(Startable):
    """Watches a feed and delivers an event when the whole changes its state, or a component gets ready, or fails.

    Each change is told once and in order; of changes that undo each other faster than anybody looks, nothing is told.
    What the feed shows first is told too, unless it is that nothing has begun. `instance` names the process.
    """

    def __init__(self, feed: Feed, deliver: Deliver, clock: Clock, instance: str = "") -> None:
        self._feed = feed
        self._deliver = deliver
        self._clock = clock
        self._instance = instance
        self._seen: Snapshot | None = None
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None

    async def _start(self) -> None:
        self._seen, self._since = None, self._clock.monotonic()
        self._task = asyncio.create_task(self._watch(), name="alerts")

    async def _stop(self) -> None:
        await cancel(self._task)
        if self._task is not None:
            # That the process leaves is the last news, and the watch may not have come to it any more.
            self._look(self._feed.snapshot())
            self._task = None

    async def _watch(self) -> None:
        async for snapshot in self._feed.watch():
            self._look(snapshot)

    def _look(self, snapshot: Snapshot) -> None:
        before = self._seen or Snapshot(version=0, taken_at=snapshot.taken_at)
        now = self._clock.monotonic()
        event = change(before, snapshot, now - self._since, self._instance)
        self._seen = snapshot
        if before.state is not snapshot.state:
            self._since = now
        if event is not None:
            self._deliver(event)


def change(before: Snapshot, after: Snapshot, seconds: float, instance: str = "") -> dict[str, Any] | None:
    """Return the event that tells what lies between two pictures, None if that is nothing to be told.

    `seconds` is how long the state of `before` has lasted.
    """
    old = {one.name: one for one in before.components}
    new = {one.name: one for one in after.components}
    moved = [name for name in {**new, **old} if _standing(old.get(name)) != _standing(new.get(name))]
    if before.state is after.state and not any(_matters(old.get(name), new.get(name)) for name in moved):
        return None
    return {
        "type": CHANGED,
        "timestamp": written(after.taken_at),
        "data": {
            **({"instance": instance} if instance else {}),
            "state": after.state.value,
            "previous_state": before.state.value,
            "seconds_in_previous_state": round(seconds, 3),
            "ready": after.ready,
            "message": after.message,
            "errors": list(after.errors),
            "components": {name: _told_of(old.get(name), new.get(name)) for name in moved},
        },
    }


def _standing(one: ComponentSnapshot | None) -> tuple[str, int]:
    # Failed again is news; ready by another attempt, or on another worker, is not.
    return _status(one), one.attempt if one is not None and one.status is Status.ERROR else 0


def _matters(old: ComponentSnapshot | None, new: ComponentSnapshot | None) -> bool:
    """Say whether a component that moved got ready or failed, or is no longer so."""
    return bool({_status(old), _status(new)} & {Status.READY.value, Status.ERROR.value})


def _status(one: ComponentSnapshot | None) -> str:
    return ABSENT if one is None else one.status.value


def _told_of(old: ComponentSnapshot | None, new: ComponentSnapshot | None) -> dict[str, Any]:
    told: dict[str, Any] = {"status": _status(new), "previous_status": _status(old)}
    if new is None:
        return told
    failure, timings = new.failure, new.timings
    return {
        **told,
        "required": new.required,
        **present(
            model=new.model,
            load_time_ms=timings.load_time_ms,
            warmup_time_ms=timings.warmup_time_ms,
            error=failure and failure.error,
            error_class=failure and failure.error_class.value,
        ),
    }
