"""Deliveries as operations inside one transaction: how far each door was told of each job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, not_, select

from glowplug.job import Job, JobEvent
from glowplug.store import Delivery
from glowplug.stores.moments import micros
from glowplug.stores.rows import delivery_of, delivery_row, event_of, followers_of
from glowplug.stores.rules import doors_to_tell, to_save
from glowplug.stores.statements import upsert, write_many
from glowplug.stores.tables import IS_TO_DELIVER, deliveries, events, jobs

_OF_DOOR = and_(IS_TO_DELIVER, deliveries.c.door == bindparam("door"))
_DUE = (
    select(deliveries)
    .where(_OF_DOOR, deliveries.c.due_at <= bindparam("now"))
    .order_by(deliveries.c.due_at, deliveries.c.job_id)
    .limit(bindparam("limit"))
)
_NEXT = select(deliveries.c.due_at).where(_OF_DOOR).order_by(deliveries.c.due_at).limit(1)
_OF_JOB = select(deliveries).where(deliveries.c.job_id == bindparam("job_id")).order_by(deliveries.c.door)
_LATER = (
    select(events).where(events.c.job_id == bindparam("job_id"), events.c.seq > bindparam("seq")).order_by(events.c.seq)
)
_LOCK = (
    select(jobs.c.id, jobs.c.followers, jobs.c.last_seq)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(jobs.c.id)
    .with_for_update()
)
_SAVE = upsert(deliveries)
_WAKE = upsert(deliveries, columns=["due_at"], where=and_(not_(IS_TO_DELIVER), not_(deliveries.c.given_up)))


def wake(connection: Connection, written: Mapping[str, Job], told: Iterable[JobEvent]) -> None:
    """Make due what follows the events that were `told` of the jobs that were `written`."""
    by_job: dict[str, list[JobEvent]] = {}
    for event in told:
        if written[event.job_id].followers:
            by_job.setdefault(event.job_id, []).append(event)
    due = [
        Delivery(job_id=job_id, door=door, due_at=news[0].at)
        for job_id, news in by_job.items()
        for door in doors_to_tell(written[job_id].followers, news)
    ]
    write_many(connection, _WAKE, list(map(delivery_row, due)))


def undelivered(connection: Connection, door: str, now: datetime, limit: int) -> list[Delivery]:
    """Return the deliveries of `door` that are due, the longest due first."""
    asked = {"door": door, "now": micros(now), "limit": limit}
    return [delivery_of(row) for row in connection.execute(_DUE, asked)]


def next_delivery_seconds(connection: Connection, door: str, now: datetime) -> float | None:
    """Return the seconds until the next delivery of `door` is due, None if there is none."""
    due_at: int | None = connection.execute(_NEXT, {"door": door}).scalar()
    return None if due_at is None else max(0.0, (due_at - micros(now)) / 1_000_000)


def save_deliveries(connection: Connection, told: Sequence[Delivery], now: datetime) -> None:
    """Write how far doors were told; the locked jobs let no event slip in between."""
    locked = {
        job_id: (followers_of(text), last_seq)
        for job_id, text, last_seq in connection.execute(_LOCK, {"ids": [one.job_id for one in told]})
    }
    saved = []
    for delivery in told:
        if delivery.job_id not in locked:
            continue
        followers, last_seq = locked[delivery.job_id]
        later = _later(connection, delivery) if last_seq > delivery.seq else []
        saved.append(delivery_row(to_save(delivery, followers, later, now)))
    write_many(connection, _SAVE, saved)


def _later(connection: Connection, delivery: Delivery) -> list[JobEvent]:
    asked = {"job_id": delivery.job_id, "seq": delivery.seq}
    return [event_of(row) for row in connection.execute(_LATER, asked)]


def of_job(connection: Connection, job_id: str) -> list[Delivery]:
    """Return the deliveries of a job, by door."""
    return [delivery_of(row) for row in connection.execute(_OF_JOB, {"job_id": job_id})]
