"""How far doors have been told: deliveries lie in the job's document, so an event and its delivery are one write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from glowplug.store import Delivery
from glowplug.stores.moments import micros
from glowplug.stores.mongo.changes import Changes, Work
from glowplug.stores.mongo.documents import Record, door_field, record_of
from glowplug.stores.mongo.rooms import Rooms


class Deliveries:
    """Finds what is due at a door, and takes what it was told."""

    def __init__(self, rooms: Rooms, changes: Changes) -> None:
        self._rooms = rooms
        self._changes = changes

    async def due(self, door: str, limit: int, now: datetime) -> list[Delivery]:
        """Return the deliveries of `door` that are due, the longest due first."""
        field = f"due.{door_field(door)}"
        found = self._rooms.jobs.find({field: {"$lte": micros(now)}}).sort(field, 1).limit(limit)
        deliveries = [_of_door(record_of(document), door) async for document in found]
        return sorted(deliveries, key=lambda one: (one.due_at or now, one.job_id))

    async def next_seconds(self, door: str, now: datetime) -> float | None:
        """Return the seconds until the next delivery of `door` is due."""
        name = door_field(door)
        field = f"due.{name}"
        first = await self._rooms.jobs.find_one({field: {"$gte": 0}}, {field: 1}, sort=[(field, 1)])
        return None if first is None else max(0.0, (int(first["due"][name]) - micros(now)) / 1_000_000)

    async def save(self, told: Sequence[Delivery], now: datetime) -> None:
        """Write how far doors were told; deliveries of jobs that are gone are left out."""

        async def take(work: Work, delivery: Delivery) -> None:
            if work.job is not None:
                work.tell(delivery, now)

        await self._changes.each(told, lambda delivery: delivery.job_id, take, now)

    async def of_job(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job, by door."""
        record = (await self._changes.load([job_id])).get(job_id)
        return [] if record is None else [one.delivery for one in record.told]


def _of_door(record: Record, door: str) -> Delivery:
    (found,) = [one.delivery for one in record.told if one.delivery.door == door]
    return found
