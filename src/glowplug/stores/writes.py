"""What changes jobs, as operations inside one transaction: each loads rows, applies `job.py`, and saves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, literal_column, or_, select, update

from glowplug.job import (
    Change,
    Job,
    JobRequest,
    JobState,
    cancel_asked,
    claimed,
    dispatched,
    expired,
    noted,
    renewed,
    retried,
    submitted,
)
from glowplug.store import Hold, ModelInfo, Renewal, Report, Settled, Settlement, Submission, Want, WorkerRecord
from glowplug.stores.changes import Changes
from glowplug.stores.moments import micros
from glowplug.stores.queue import chosen_jobs, due_jobs, expired_jobs, overdue_jobs
from glowplug.stores.rows import job_of, to_text
from glowplug.stores.rules import found, is_held, resubmitted, settle
from glowplug.stores.statements import upsert, write_many
from glowplug.stores.tables import (
    HAS_ENDED,
    HAS_KEY,
    IS_DISPATCHED,
    IS_QUEUED,
    deliveries,
    duties,
    events,
    jobs,
    models,
    workers,
)

KEYS_AT_ONCE = 1_000
LINED_UP_AT_ONCE = 200

_BY_KEY = select(jobs).where(
    HAS_KEY, jobs.c.owner == bindparam("owner"), jobs.c.key.in_(bindparam("keys", expanding=True))
)
_ENDED = (
    select(jobs)
    .where(HAS_ENDED, jobs.c.finished_at < bindparam("before"))
    .order_by(jobs.c.finished_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_DELETE_JOB = delete(jobs).where(jobs.c.id == bindparam("was_id"))
_DELETE_EVENTS = delete(events).where(events.c.job_id == bindparam("was_id"))
_DELETE_DELIVERIES = delete(deliveries).where(deliveries.c.job_id == bindparam("was_id"))
_MARK_LOST = (
    update(jobs)
    .where(
        IS_QUEUED,
        IS_DISPATCHED,
        jobs.c.task.in_(bindparam("tasks", expanding=True)),
        jobs.c.dispatched_at < bindparam("before"),
    )
    .values(dispatched_at=None)
)
_LEAD = upsert(
    duties, where=or_(duties.c.holder == literal_column("excluded.holder"), duties.c.until <= bindparam("now"))
)
_RESIGN = delete(duties).where(duties.c.name == bindparam("duty"), duties.c.holder == bindparam("by"))
_SAVE_WORKER, _SAVE_MODEL = upsert(workers), upsert(models)


def submit(connection: Connection, requests: Sequence[JobRequest], now: datetime) -> list[Submission]:
    """Queue requests that have been checked; one whose key is there becomes the job it was."""
    known = _jobs_by_key(connection, requests)
    changes = Changes(connection, now)
    submissions: list[Submission] = []
    for request in requests:
        name = (request.owner, request.key)
        if request.key is not None and name in known:
            submissions.append(resubmitted(known[name], request))
            continue
        job = changes.apply(submitted(request, now))
        known[name] = job
        submissions.append(Submission(job, created=True))
    changes.save()
    return submissions


def _jobs_by_key(connection: Connection, requests: Iterable[JobRequest]) -> dict[tuple[str, str | None], Job]:
    keys: dict[str, list[str]] = {}
    for request in requests:
        if request.key is not None:
            keys.setdefault(request.owner, []).append(request.key)
    known: dict[tuple[str, str | None], Job] = {}
    for owner, wanted in keys.items():
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            asked = {"owner": owner, "keys": wanted[start : start + KEYS_AT_ONCE]}
            known |= {(owner, job.key): job for job in map(job_of, connection.execute(_BY_KEY, asked))}
    return known


def claim(
    connection: Connection,
    worker_id: str,
    wants: Sequence[Want],
    now: datetime,
    lease: timedelta,
    only: Collection[str] | None = None,
) -> list[Job]:
    """Hand due jobs to a worker, want after want."""
    granted: list[Job] = []
    for want in wants:
        if only is None:
            line_up(connection, want.tasks, now, want.slots)
            due = due_jobs(connection, want.tasks, want.slots, now)
        else:
            due = chosen_jobs(connection, only, want.tasks, want.slots, now)
        changes = Changes(connection, now, due)
        granted += [changes.apply(claimed(job, worker_id, now, lease)) for job in due]
        changes.save()
    return granted


def line_up(connection: Connection, tasks: Collection[str], now: datetime, least: int = 0) -> None:
    """Give jobs of `tasks` that have become due their turn: a bounded number of each, the longest due first."""
    for task in set(tasks):
        overdue = overdue_jobs(connection, task, max(least, LINED_UP_AT_ONCE), now)
        if overdue:
            changes = Changes(connection, now, overdue)
            for job in overdue:
                changes.apply((job, ()))
            changes.save()


def expire(connection: Connection, now: datetime, limit: int) -> list[Job]:
    """End queued jobs whose time to start is over."""
    late = expired_jobs(connection, limit, now)
    changes = Changes(connection, now, late)
    ended = [changes.apply(expired(job, now)) for job in late]
    changes.save()
    return ended


def mark_dispatched(connection: Connection, job_ids: Collection[str], now: datetime) -> None:
    """Say that a broker has taken the hints of these jobs, where they still wait."""
    changes = Changes.load(connection, job_ids, now)
    for job_id in job_ids:
        job = changes.get(job_id)
        if job is not None and job.state is JobState.QUEUED:
            changes.apply((dispatched(job, now), ()))
    changes.save()


def mark_lost(connection: Connection, tasks: Collection[str], dispatched_before: datetime) -> int:
    """Take the mark from jobs dispatched before then."""
    asked = {"tasks": list(tasks), "before": micros(dispatched_before)}
    return connection.execute(_MARK_LOST, asked).rowcount


def renew(connection: Connection, holds: Sequence[Hold], now: datetime, lease: timedelta) -> list[Renewal]:
    """Extend the leases that are still held."""
    changes = Changes.load(connection, [hold.job_id for hold in holds], now)
    renewals = []
    for hold in holds:
        job = changes.get(hold.job_id)
        if not is_held(job, hold):
            renewals.append(Renewal(hold, held=False, cancel=False))
            continue
        changes.apply((renewed(job, now, lease), ()))
        renewals.append(Renewal(hold, held=True, cancel=job.cancel_requested_at is not None))
    changes.save()
    return renewals


def note(connection: Connection, reports: Sequence[Report], now: datetime) -> list[bool]:
    """Append what running attempts report, where the hold is good."""
    changes = Changes.load(connection, [report.hold.job_id for report in reports], now)
    accepted = []
    for report in reports:
        job = changes.get(report.hold.job_id)
        accepted.append(is_held(job, report.hold))
        if is_held(job, report.hold):
            changes.apply(noted(job, report.notes, now))
    changes.save()
    return accepted


def settle_all(
    connection: Connection, settlements: Sequence[Settlement], now: datetime, jitter: Callable[[], float]
) -> list[Settled]:
    """End attempts, where the hold is good or the settlement is a repeat."""
    changes = Changes.load(connection, [settlement.hold.job_id for settlement in settlements], now)
    answers = []
    for settlement in settlements:
        answer, change = settle(changes.get(settlement.hold.job_id), settlement, now, jitter())
        if change is not None:
            answer = replace(answer, job=changes.apply(change))
        answers.append(answer)
    changes.save()
    return answers


def cancel(connection: Connection, job_id: str, now: datetime) -> Job:
    """Ask a job to stop."""
    return _change(connection, job_id, now, lambda job: cancel_asked(job, now))


def retry(connection: Connection, job_id: str, now: datetime) -> Job:
    """Queue an ended job again."""
    return _change(connection, job_id, now, lambda job: retried(job, now))


def _change(connection: Connection, job_id: str, now: datetime, transition: Callable[[Job], Change]) -> Job:
    changes = Changes.load(connection, [job_id], now)
    job = changes.apply(transition(found(changes.get(job_id), job_id)))
    changes.save()
    return job


def clean(connection: Connection, finished_before: datetime, limit: int) -> list[Job]:
    """Delete the jobs that ended first, with their events."""
    doomed = [job_of(row) for row in connection.execute(_ENDED, {"before": micros(finished_before), "limit": limit})]
    if doomed:
        names = [{"was_id": job.id} for job in doomed]
        connection.execute(_DELETE_DELIVERIES, names)
        connection.execute(_DELETE_EVENTS, names)
        connection.execute(_DELETE_JOB, names)
    return doomed


def lead(connection: Connection, duty: str, holder: str, now: datetime, term: timedelta) -> bool:
    """Become or stay the one who does `duty`."""
    until = {"name": duty, "holder": holder, "until": micros(now + term), "now": micros(now)}
    return write_many(connection, _LEAD, [until]) == 1


def resign(connection: Connection, duty: str, holder: str) -> None:
    """Let somebody else lead."""
    connection.execute(_RESIGN, {"duty": duty, "by": holder})


def save_worker(connection: Connection, record: WorkerRecord) -> None:
    """Write a worker's record over the one that is there."""
    connection.execute(_SAVE_WORKER, {"instance_id": record.instance_id, "record": to_text(record)})


def forget_worker(connection: Connection, instance_id: str) -> None:
    """Delete a worker's record."""
    connection.execute(delete(workers).where(workers.c.instance_id == instance_id))


def save_model(connection: Connection, info: ModelInfo) -> None:
    """Write a model's info over the one that is there."""
    connection.execute(_SAVE_MODEL, {"name": info.name, "info": to_text(info)})
