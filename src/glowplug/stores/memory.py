"""A store in this process's memory: the whole contract, gone when the process ends.

For tests, and for serving without jobs that must outlive a restart.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec

from glowplug.clock import Clock
from glowplug.job import (
    Change,
    Job,
    JobEvent,
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
from glowplug.store import (
    Delivery,
    Depth,
    Hold,
    JobFilter,
    JobPage,
    ModelInfo,
    Renewal,
    Report,
    Settled,
    Settlement,
    Store,
    Submission,
    Want,
    WorkerRecord,
)
from glowplug.stores.memory_deliveries import Deliveries
from glowplug.stores.memory_lines import Lines
from glowplug.stores.rules import (
    checked,
    cursor_after,
    found,
    is_expired,
    is_held,
    line_order,
    may_start,
    parse_cursor,
    resubmitted,
    settle,
    to_save,
    waits_for_its_turn,
)

T = TypeVar("T", Change, Delivery, WorkerRecord, ModelInfo)
_TYPES: dict[type, Any] = {tuple: Change, Delivery: Delivery, WorkerRecord: WorkerRecord, ModelInfo: ModelInfo}


class MemoryStore(Store):
    """Keeps everything in dictionaries; `stop` forgets nothing, so that a test may start it again."""

    def __init__(self, *, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._jobs: dict[str, Job] = {}
        self._events: dict[str, list[JobEvent]] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._lines = Lines(self._jobs)
        self._deliveries = Deliveries()
        self._duties: dict[str, tuple[str, datetime]] = {}
        self._claimed: set[str] = set()
        self._workers: dict[str, WorkerRecord] = {}
        self._models: dict[str, ModelInfo] = {}

    async def submit(self, requests: Sequence[JobRequest]) -> list[Submission]:
        """Queue all the requests or none."""
        now = self._clock.now()
        fresh: dict[tuple[str, str], Submission] = {}
        submissions: list[Submission] = []
        changes: list[Change] = []
        for request in map(checked, requests):
            submission = self._repeat_of(request, fresh)
            if submission is None:
                change = submitted(request, now)
                changes.append(change)
                submission = Submission(change[0], created=True)
            if request.key is not None:
                fresh[request.owner, request.key] = submission
            submissions.append(submission)
        for change in changes:
            self._save(change)
        return [replace(submission, job=self._jobs[submission.job.id]) for submission in submissions]

    def _repeat_of(self, request: JobRequest, fresh: dict[tuple[str, str], Submission]) -> Submission | None:
        if request.key is None:
            return None
        name = (request.owner, request.key)
        if name in fresh:
            return resubmitted(fresh[name].job, request)
        return resubmitted(self._jobs[self._keys[name]], request) if name in self._keys else None

    async def job(self, job_id: str) -> Job:
        """Return a job."""
        return found(self._jobs.get(job_id), job_id)

    async def jobs(self, where: JobFilter, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """List jobs, newest first."""
        below = parse_cursor(cursor) if cursor is not None else None
        matching = (
            job
            for job in self._jobs.values()
            if _matches(job, where) and (below is None or (job.created_at, job.id) < below)
        )
        page = heapq.nlargest(limit + 1, matching, key=lambda job: (job.created_at, job.id))
        more = len(page) > limit
        return JobPage(tuple(page[:limit]), cursor_after(page[limit - 1]) if more else None)

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Return the events behind `after`."""
        start = max(after, 0)
        return self._events.get(job_id, [])[start : start + limit]

    async def position(self, job_id: str, *, limit: int = 10_000) -> int | None:
        """Return how many due jobs are ahead."""
        found = self._jobs.get(job_id)
        if found is None or found.state is not JobState.QUEUED:
            return None
        self._line_up([found.task])
        return min(self._lines.ahead(self._jobs[job_id]), limit)

    async def nth_newest(self, owner: str, n: int, *, task: str | None = None) -> datetime | None:
        """Return when the owner's `n`-th newest job was made."""
        times = (job.created_at for job in self._jobs.values() if job.owner == owner and task in (None, job.task))
        newest = heapq.nlargest(n, times)
        return newest[-1] if newest and len(newest) == n else None

    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task with live jobs."""
        depths = self._lines.depths(self._clock.now())
        for job_id in self._claimed:
            task = self._jobs[job_id].task
            depth = depths.get(task, Depth())
            depths[task] = replace(depth, running=depth.running + 1)
        return depths

    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, *, only: Collection[str] | None = None
    ) -> list[Job]:
        """Hand due jobs to a worker."""
        now = self._clock.now()
        return [
            self._save(claimed(job, worker_id, now, lease))
            for want in wants
            for job in self._next_due(want.tasks, max(want.slots, 0), only, now)
        ]

    def _next_due(self, tasks: Collection[str], limit: int, only: Collection[str] | None, now: datetime) -> list[Job]:
        if only is None:
            self._line_up(tasks)
            due = [job for task in set(tasks) for job in islice(self._to_start(task, now), limit)]
        else:
            named = [self._jobs[job_id] for job_id in set(only) if job_id in self._jobs]
            due = [job for job in named if job.task in tasks and may_start(job, now)]
        return sorted(due, key=line_order)[:limit]

    def _to_start(self, task: str, now: datetime) -> Iterable[Job]:
        return (job for job in self._lines.due(task) if not is_expired(job, now))

    def _line_up(self, tasks: Collection[str]) -> None:
        """Give those that have become due their turn."""
        now = self._clock.now()
        for job in [job for task in set(tasks) for job in self._lines.overdue(task, now)]:
            self._save((job, ()))

    async def expire(self, *, limit: int = 100) -> list[Job]:
        """End queued jobs whose time to start is over."""
        now = self._clock.now()
        return [self._save(expired(job, now)) for job in self._lines.expired(now, limit)]

    async def undispatched(self, tasks: Collection[str], *, limit: int) -> list[Job]:
        """Return the due jobs whose hint no broker has."""
        self._line_up(tasks)
        now = self._clock.now()
        waiting = (job for task in set(tasks) for job in self._to_start(task, now) if job.dispatched_at is None)
        return heapq.nsmallest(limit, waiting, key=line_order)

    async def mark_dispatched(self, job_ids: Collection[str]) -> None:
        """Say that a broker has taken the hints of these jobs."""
        now = self._clock.now()
        for job in [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]:
            if job.state is JobState.QUEUED:
                self._save((dispatched(job, now), ()))

    async def mark_lost(self, tasks: Collection[str], dispatched_before: datetime) -> int:
        """Take the mark from jobs dispatched before then."""
        lost = [
            job
            for task in set(tasks)
            for job in self._lines.due(task)
            if job.dispatched_at is not None and job.dispatched_at < dispatched_before
        ]
        for job in lost:
            self._save((replace(job, dispatched_at=None), ()))
        return len(lost)

    async def renew(self, holds: Sequence[Hold], lease: timedelta) -> list[Renewal]:
        """Extend the leases that are still held."""
        return [self._renew(hold, lease) for hold in holds]

    def _renew(self, hold: Hold, lease: timedelta) -> Renewal:
        job = self._jobs.get(hold.job_id)
        if not is_held(job, hold):
            return Renewal(hold, held=False, cancel=False)
        job = self._save((renewed(job, self._clock.now(), lease), ()))
        return Renewal(hold, held=True, cancel=job.cancel_requested_at is not None)

    async def note(self, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report."""
        return [self._note(report) for report in reports]

    def _note(self, report: Report) -> bool:
        job = self._jobs.get(report.hold.job_id)
        if not is_held(job, report.hold):
            return False
        self._save(noted(job, report.notes, self._clock.now()))
        return True

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts."""
        return [self._settle(settlement) for settlement in settlements]

    def _settle(self, settlement: Settlement) -> Settled:
        job = self._jobs.get(settlement.hold.job_id)
        answer, change = settle(job, settlement, self._clock.now(), self._jitter())
        return answer if change is None else replace(answer, job=self._save(change))

    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker."""
        return [_hold(job) for job in self._running_jobs() if job.worker_id == worker_id]

    async def expired(self, *, limit: int = 100) -> list[Hold]:
        """List the holds whose lease has run out."""
        now = self._clock.now()
        late = [(job.lease_until, job.id) for job in self._running_jobs() if job.lease_until and job.lease_until <= now]
        return [_hold(self._jobs[job_id]) for _, job_id in sorted(late)[:limit]]

    def _running_jobs(self) -> Iterable[Job]:
        return (self._jobs[job_id] for job_id in sorted(self._claimed))

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop."""
        return self._save(cancel_asked(await self.job(job_id), self._clock.now()))

    async def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again."""
        return self._save(retried(await self.job(job_id), self._clock.now()))

    async def next_due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return the seconds until the next queued job of `tasks` becomes due."""
        now = self._clock.now()
        waiting = (job for task in tasks for job in (*self._lines.due(task), *self._lines.later(task)))
        times = [job.run_at for job in waiting if not is_expired(job, now)]
        return max(0.0, (min(times) - now).total_seconds()) if times else None

    async def clean(self, finished_before: datetime, *, limit: int = 500) -> list[Job]:
        """Delete ended jobs and their events."""
        ended = (
            job for job in self._jobs.values() if job.finished_at is not None and job.finished_at < finished_before
        )
        doomed = heapq.nsmallest(limit, ended, key=lambda job: (job.finished_at, job.id))
        for job in doomed:
            del self._jobs[job.id], self._events[job.id]
            self._deliveries.forget(job.id)
            if job.key is not None:
                del self._keys[job.owner, job.key]
        return doomed

    async def undelivered(self, door: str, *, limit: int = 100) -> list[Delivery]:
        """Return the deliveries of `door` that are due."""
        return self._deliveries.due(door, self._clock.now(), limit)

    async def next_delivery_seconds(self, door: str) -> float | None:
        """Return the seconds until the next delivery of `door` is due."""
        at = self._deliveries.next_at(door)
        return None if at is None else max(0.0, (at - self._clock.now()).total_seconds())

    async def save_deliveries(self, told: Sequence[Delivery]) -> None:
        """Write how far doors were told."""
        now = self._clock.now()
        for delivery in map(_copy, told):
            if delivery.job_id in self._jobs:
                later = self._events[delivery.job_id][max(delivery.seq, 0) :]
                self._deliveries.save(to_save(delivery, self._jobs[delivery.job_id].followers, later, now))

    async def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job."""
        return self._deliveries.of_job(job_id)

    async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
        """Become or stay the one who does `duty`."""
        now = self._clock.now()
        leader, until = self._duties.get(duty, (holder, now))
        if leader != holder and until > now:
            return False
        self._duties[duty] = (holder, now + term)
        return True

    async def resign(self, duty: str, holder: str) -> None:
        """Let somebody else lead at once."""
        if duty in self._duties and self._duties[duty][0] == holder:
            del self._duties[duty]

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record."""
        self._workers[record.instance_id] = _copy(record)

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return [self._workers[name] for name in sorted(self._workers)]

    async def worker(self, instance_id: str) -> WorkerRecord | None:
        """Return a worker."""
        return self._workers.get(instance_id)

    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record."""
        self._workers.pop(instance_id, None)

    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info."""
        self._models[info.name] = _copy(info)

    async def models(self) -> list[ModelInfo]:
        """Return all models."""
        return [self._models[name] for name in sorted(self._models)]

    def _save(self, change: Change) -> Job:
        job, events = _copy(change)
        if job.id in self._jobs:
            self._lines.remove(self._jobs[job.id])
        if waits_for_its_turn(job, self._clock.now()):
            job = self._lines.lined_up(job)
        self._lines.add(job)
        (self._claimed.add if job.state is JobState.RUNNING else self._claimed.discard)(job.id)
        if job.key is not None:
            self._keys[job.owner, job.key] = job.id
        self._jobs[job.id] = job
        self._events.setdefault(job.id, []).extend(events)
        self._deliveries.wake(job, events)
        return job


def _copy(value: T) -> T:
    # What comes in or goes out by reference could be changed later; what has been through JSON is ours alone.
    copy: T = msgspec.json.decode(msgspec.json.encode(value), type=_TYPES[type(value)])
    return copy


def _hold(job: Job) -> Hold:
    return Hold(job.id, job.token)


def _matches(job: Job, where: JobFilter) -> bool:
    return (
        (where.states is None or job.state in where.states)
        and where.task in (None, job.task)
        and where.owner in (None, job.owner)
        and where.batch_id in (None, job.batch_id)
        and where.key in (None, job.key)
        and (where.created_after is None or job.created_at > where.created_after)
        and (where.created_before is None or job.created_at < where.created_before)
    )
