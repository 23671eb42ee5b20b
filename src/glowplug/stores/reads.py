"""What only looks: single jobs, pages of them, events, holds, and the registry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select, tuple_

from glowplug.job import Job, JobEvent, JobState
from glowplug.store import Hold, JobFilter, JobPage, ModelInfo, WorkerRecord
from glowplug.stores.moments import micros, moment
from glowplug.stores.rows import event_of, job_of
from glowplug.stores.rules import cursor_after, found, parse_cursor
from glowplug.stores.tables import HAS_BATCH, HAS_KEY, IS_LEASED, STATE_IS, events, jobs, models, workers

_JOB = select(jobs).where(jobs.c.id == bindparam("job_id"))
_EVENTS = (
    select(events)
    .where(events.c.job_id == bindparam("job_id"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit"))
)
_NEWEST = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(bindparam("limit"))
_BELOW = tuple_(jobs.c.created_at, jobs.c.id) < tuple_(bindparam("page_at"), bindparam("page_id"))
_TIMES = (
    select(jobs.c.created_at)
    .where(jobs.c.owner == bindparam("owner"))
    .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
    .offset(bindparam("skipped"))
    .limit(1)
)
_TIMES_OF_TASK = _TIMES.where(jobs.c.task == bindparam("task"))
_HELD = select(jobs.c.id, jobs.c.token).where(*IS_LEASED)
_HELD_BY = _HELD.where(jobs.c.worker_id == bindparam("worker"))
_EXPIRED = (
    _HELD.where(jobs.c.lease_until <= bindparam("now"))
    .order_by(jobs.c.lease_until, jobs.c.id)
    .limit(bindparam("limit"))
)
_WORKER = select(workers.c.record).where(workers.c.instance_id == bindparam("instance_id"))
_WORKERS = select(workers.c.record).order_by(workers.c.instance_id)
_MODELS = select(models.c.info).order_by(models.c.name)

_read_worker = msgspec.json.Decoder(WorkerRecord).decode
_read_model = msgspec.json.Decoder(ModelInfo).decode


def job(connection: Connection, job_id: str) -> Job:
    """Return a job. Raises `NotFound`."""
    row = connection.execute(_JOB, {"job_id": job_id}).first()
    return found(None if row is None else job_of(row), job_id)


def job_page(connection: Connection, where: JobFilter, cursor: str | None, limit: int) -> JobPage:
    """Return a page of jobs, newest first."""
    page = _newest(connection, where, cursor, limit + 1)
    more = len(page) > limit
    return JobPage(tuple(page[:limit]), cursor_after(page[limit - 1]) if more else None)


def _newest(connection: Connection, where: JobFilter, cursor: str | None, limit: int) -> list[Job]:
    states: Sequence[JobState | None] = [None] if where.states is None else list(dict.fromkeys(where.states))
    # Each state has its index; asked for several at once, SQLite would sort every job that is in one of them.
    rows = [job_of(row) for state in states for row in connection.execute(*_one_state(where, state, cursor, limit))]
    rows.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    return rows[:limit]


def _one_state(
    where: JobFilter, state: JobState | None, cursor: str | None, limit: int
) -> tuple[Select[tuple[object, ...]], dict[str, object]]:
    asked: dict[str, object] = {"limit": limit}
    terms: list[ColumnElement[bool]] = [] if state is None else [STATE_IS[state]]
    for column, value in (
        (jobs.c.task, where.task),
        (jobs.c.owner, where.owner),
        (jobs.c.batch_id, where.batch_id),
        (jobs.c.key, where.key),
    ):
        if value is not None:
            terms.append(column == bindparam(f"where_{column.name}"))
            asked[f"where_{column.name}"] = value
    if where.batch_id is not None:
        terms.append(HAS_BATCH)
    if where.key is not None:
        terms.append(HAS_KEY)
    if where.created_after is not None:
        terms.append(jobs.c.created_at > bindparam("from_at"))
        asked["from_at"] = micros(where.created_after)
    if where.created_before is not None:
        terms.append(jobs.c.created_at < bindparam("to_at"))
        asked["to_at"] = micros(where.created_before)
    if cursor is not None:
        created_at, asked["page_id"] = parse_cursor(cursor)
        asked["page_at"] = micros(created_at)
        terms.append(_BELOW)
    return _NEWEST.where(*terms), asked


def job_events(connection: Connection, job_id: str, after: int, limit: int) -> list[JobEvent]:
    """Return the events behind `after`."""
    return [event_of(row) for row in connection.execute(_EVENTS, {"job_id": job_id, "after": after, "limit": limit})]


def nth_newest(connection: Connection, owner: str, n: int, task: str | None) -> datetime | None:
    """Return when the owner's `n`-th newest job was made."""
    asked = {"owner": owner, "task": task, "skipped": n - 1}
    at: int | None = connection.execute(_TIMES if task is None else _TIMES_OF_TASK, asked).scalar() if n > 0 else None
    return None if at is None else moment(at)


def held_by(connection: Connection, worker_id: str) -> list[Hold]:
    """List the holds of a worker."""
    return sorted(
        (Hold(*row) for row in connection.execute(_HELD_BY, {"worker": worker_id})), key=lambda hold: hold.job_id
    )


def expired(connection: Connection, now: datetime, limit: int) -> list[Hold]:
    """List the holds whose lease has run out, the oldest first."""
    return [Hold(*row) for row in connection.execute(_EXPIRED, {"now": micros(now), "limit": limit})]


def worker(connection: Connection, instance_id: str) -> WorkerRecord | None:
    """Return a worker of the registry, None if it is not there."""
    record = connection.execute(_WORKER, {"instance_id": instance_id}).scalar()
    return None if record is None else _read_worker(record)


def all_workers(connection: Connection) -> list[WorkerRecord]:
    """Return the registry of workers."""
    return [_read_worker(record) for (record,) in connection.execute(_WORKERS)]


def all_models(connection: Connection) -> list[ModelInfo]:
    """Return what is known of models."""
    return [_read_model(info) for (info,) in connection.execute(_MODELS)]
