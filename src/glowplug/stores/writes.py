"""What changes jobs, as operations inside one transaction: each loads rows, applies `job.py`, and saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, insert, select

from glowplug.job import Change, Job, JobRequest, cancel_asked, claimed, noted, renewed, retried, submitted
from glowplug.store import Hold, ModelInfo, Renewal, Report, Settled, Settlement, Submission, Want, WorkerRecord
from glowplug.stores.changes import Changes
from glowplug.stores.moments import micros
from glowplug.stores.queue import due_jobs
from glowplug.stores.rows import job_of, to_text
from glowplug.stores.rules import found, is_held, resubmitted, settle
from glowplug.stores.tables import HAS_ENDED, HAS_KEY, events, jobs, models, workers

KEYS_AT_ONCE = 1_000

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


def submit(connection: Connection, requests: Sequence[JobRequest], now: datetime) -> list[Submission]:
    """Queue requests that have been checked; one whose key is there becomes the job it was."""
    known = _jobs_by_key(connection, requests)
    changes = Changes(connection)
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


def claim(connection: Connection, worker_id: str, wants: Sequence[Want], now: datetime, lease: timedelta) -> list[Job]:
    """Hand due jobs to a worker, want after want."""
    granted: list[Job] = []
    for want in wants:
        due = due_jobs(connection, want, now)
        changes = Changes(connection, due)
        granted += [changes.apply(claimed(job, worker_id, now, lease)) for job in due]
        changes.save()
    return granted


def renew(connection: Connection, holds: Sequence[Hold], now: datetime, lease: timedelta) -> list[Renewal]:
    """Extend the leases that are still held."""
    changes = Changes.load(connection, [hold.job_id for hold in holds])
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
    changes = Changes.load(connection, [report.hold.job_id for report in reports])
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
    changes = Changes.load(connection, [settlement.hold.job_id for settlement in settlements])
    answers = []
    for settlement in settlements:
        answer, change = settle(changes.get(settlement.hold.job_id), settlement, now, jitter())
        if change is not None:
            changes.apply(change)
        answers.append(answer)
    changes.save()
    return answers


def cancel(connection: Connection, job_id: str, now: datetime) -> Job:
    """Ask a job to stop."""
    return _change(connection, job_id, lambda job: cancel_asked(job, now))


def retry(connection: Connection, job_id: str, now: datetime) -> Job:
    """Queue an ended job again."""
    return _change(connection, job_id, lambda job: retried(job, now))


def _change(connection: Connection, job_id: str, transition: Callable[[Job], Change]) -> Job:
    changes = Changes.load(connection, [job_id])
    job = changes.apply(transition(found(changes.get(job_id), job_id)))
    changes.save()
    return job


def clean(connection: Connection, finished_before: datetime, limit: int) -> list[Job]:
    """Delete the jobs that ended first, with their events."""
    doomed = [job_of(row) for row in connection.execute(_ENDED, {"before": micros(finished_before), "limit": limit})]
    if doomed:
        names = [{"was_id": job.id} for job in doomed]
        connection.execute(_DELETE_EVENTS, names)
        connection.execute(_DELETE_JOB, names)
    return doomed


def save_worker(connection: Connection, record: WorkerRecord) -> None:
    """Write a worker's record over the one that is there."""
    connection.execute(delete(workers).where(workers.c.instance_id == record.instance_id))
    connection.execute(insert(workers), {"instance_id": record.instance_id, "record": to_text(record)})


def forget_worker(connection: Connection, instance_id: str) -> None:
    """Delete a worker's record."""
    connection.execute(delete(workers).where(workers.c.instance_id == instance_id))


def save_model(connection: Connection, info: ModelInfo) -> None:
    """Write a model's info over the one that is there."""
    connection.execute(delete(models).where(models.c.name == info.name))
    connection.execute(insert(models), {"name": info.name, "info": to_text(info)})
