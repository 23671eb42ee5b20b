"""The deliveries of the store in memory: how far each door was told of each job, and what is due."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile

from glowplug.job import Job, JobEvent
from glowplug.store import Delivery
from glowplug.stores.rules import doors_to_tell, woken


class Deliveries:
    """Deliveries by job and door, with a sorted list of the due ones for each door."""

    def __init__(self) -> None:
        self._of_job: dict[str, dict[str, Delivery]] = {}
        self._due: dict[str, list[tuple[datetime, str]]] = {}

    def wake(self, job: Job, events: Sequence[JobEvent]) -> None:
        """Make those of `job` due that follow one of these events."""
        for door in doors_to_tell(job.followers, events):
            delivery = self._of_job.get(job.id, {}).get(door) or Delivery(job_id=job.id, door=door)
            self.save(woken(delivery, events[0].at))

    def save(self, delivery: Delivery) -> None:
        """Write a delivery over what is there."""
        doors = self._of_job.setdefault(delivery.job_id, {})
        if delivery.door in doors:
            self._forget_time(doors[delivery.door])
        doors[delivery.door] = delivery
        if delivery.due_at is not None:
            insort(self._due.setdefault(delivery.door, []), (delivery.due_at, delivery.job_id))

    def forget(self, job_id: str) -> None:
        """Delete the deliveries of a job."""
        for delivery in self._of_job.pop(job_id, {}).values():
            self._forget_time(delivery)

    def due(self, door: str, now: datetime, limit: int) -> list[Delivery]:
        """Return what is due at `door`, the longest due first."""
        late = takewhile(lambda moment: moment[0] <= now, self._due.get(door, ())[:limit])
        return [self._of_job[job_id][door] for _, job_id in late]

    def next_at(self, door: str) -> datetime | None:
        """Return when the next one of `door` is due."""
        moments = self._due.get(door)
        return moments[0][0] if moments else None

    def of_job(self, job_id: str) -> list[Delivery]:
        """Return those of a job, by door."""
        return [delivery for _, delivery in sorted(self._of_job.get(job_id, {}).items())]

    def _forget_time(self, delivery: Delivery) -> None:
        if delivery.due_at is not None:
            moments = self._due[delivery.door]
            del moments[bisect_left(moments, (delivery.due_at, delivery.job_id))]
