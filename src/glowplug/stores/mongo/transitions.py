"""The transitions of jobs as steps on their documents: what `job.py` decides, under the guard of who holds a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from glowplug.job import Change, Job, JobState, cancel_asked, expired, noted, renewed, retried
from glowplug.store import Hold, Renewal, Report, Settled, Settlement
from glowplug.stores.mongo.changes import Changes, Work
from glowplug.stores.rules import found, is_expired, is_held, settle


async def renew(changes: Changes, holds: Sequence[Hold], lease: timedelta, now: datetime) -> list[Renewal]:
    """Extend the leases that are still held."""

    async def step(work: Work, hold: Hold) -> Renewal:
        if not is_held(work.job, hold):
            return Renewal(hold, held=False, cancel=False)
        job = await work.take((renewed(work.job, now, lease), ()))
        return Renewal(hold, held=True, cancel=job.cancel_requested_at is not None)

    return await changes.each(holds, lambda hold: hold.job_id, step, now)


async def note(changes: Changes, reports: Sequence[Report], now: datetime) -> list[bool]:
    """Append what running attempts report, where the hold is good."""

    async def step(work: Work, report: Report) -> bool:
        if not is_held(work.job, report.hold):
            return False
        await work.take(noted(work.job, report.notes, now))
        return True

    return await changes.each(reports, lambda report: report.hold.job_id, step, now)


async def settle_all(
    changes: Changes, settlements: Sequence[Settlement], now: datetime, jitter: Callable[[], float]
) -> list[Settled]:
    """End attempts, where the hold is good or the settlement is a repeat."""

    async def step(work: Work, settlement: Settlement) -> Settled:
        answer, change = settle(work.job, settlement, now, jitter())
        return answer if change is None else replace(answer, job=await work.take(change))

    return await changes.each(settlements, lambda settlement: settlement.hold.job_id, step, now)


async def cancel(changes: Changes, job_id: str, now: datetime) -> Job:
    """Ask a job to stop. Raises `NotFound`, `Conflict`."""
    return await _change(changes, job_id, lambda job: cancel_asked(job, now), now)


async def retry(changes: Changes, job_id: str, now: datetime) -> Job:
    """Queue an ended job again. Raises `NotFound`, `Conflict`."""
    return await _change(changes, job_id, lambda job: retried(job, now), now)


async def _change(changes: Changes, job_id: str, transition: Callable[[Job], Change], now: datetime) -> Job:
    async def step(work: Work, job_id: str) -> Job:
        return await work.take(transition(found(work.job, job_id)))

    (job,) = await changes.each([job_id], str, step, now)
    return job


async def expire(changes: Changes, job_ids: Sequence[str], now: datetime) -> list[Job]:
    """End those of the queued jobs whose time to start is over; return them."""

    async def step(work: Work, _: str) -> Job | None:
        job = work.job
        if job is None or job.state is not JobState.QUEUED or not is_expired(job, now):
            return None
        return await work.take(expired(job, now))

    return [job for job in await changes.each(job_ids, str, step, now) if job is not None]
