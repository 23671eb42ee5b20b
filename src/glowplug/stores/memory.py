"""A store in this process's memory: the whole contract, gone when the process ends.

For tests, and for serving without jobs that must outlive a restart. A claim walks the due jobs of a task in order, so
it stays fast while few jobs wait for a later time.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
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
    noted,
    renewed,
    retried,
    submitted,
)
from glowplug.store import (
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
from glowplug.stores.rules import checked, cursor_after, found, is_held, parse_cursor, resubmitted, settle

Place = tuple[int, datetime, str]
T = TypeVar("T", Change, WorkerRecord, ModelInfo)
_TYPES: dict[type, Any] = {tuple: Change, WorkerRecord: WorkerRecord, ModelInfo: ModelInfo}


class MemoryStore(Store):
    """Keeps everything in dictionaries; `stop` forgets nothing, so that a test may start it again."""

    def __init__(self, *, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._jobs: dict[str, Job] = {}
        self._events: dict[str, list[JobEvent]] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._queues: dict[str, list[Place]] = {}
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
        return submissions

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
        job = self._jobs.get(job_id)
        if job is None or job.state is not JobState.QUEUED:
            return None
        queue, now = self._queues[job.task], self._clock.now()
        ahead = islice(queue, bisect_left(queue, _place(job)))
        return sum(1 for _ in islice((place for place in ahead if place[1] <= now), limit))

    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task with live jobs."""
        now = self._clock.now()
        depths = {task: _depth(queue, now) for task, queue in self._queues.items() if queue}
        for job_id in self._claimed:
            task = self._jobs[job_id].task
            depth = depths.get(task, Depth())
            depths[task] = replace(depth, running=depth.running + 1)
        return depths

    async def claim(self, worker_id: str, wants: Sequence[Want], lease: timedelta) -> list[Job]:
        """Hand due jobs to a worker."""
        now = self._clock.now()
        return [
            self._save(claimed(self._jobs[job_id], worker_id, now, lease))
            for want in wants
            for job_id in self._next_due(want, now)
        ]

    def _next_due(self, want: Want, now: datetime) -> list[str]:
        places: list[Place] = []
        for task in dict.fromkeys(want.tasks):
            due = (place for place in self._queues.get(task, ()) if place[1] <= now)
            places.extend(islice(due, max(want.slots, 0)))
        return [job_id for _, _, job_id in sorted(places)[: max(want.slots, 0)]]

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
        times = [run_at for task in tasks for _, run_at, _ in self._queues.get(task, ())]
        return max(0.0, (min(times) - self._clock.now()).total_seconds()) if times else None

    async def clean(self, finished_before: datetime, *, limit: int = 500) -> list[Job]:
        """Delete ended jobs and their events."""
        ended = (
            job for job in self._jobs.values() if job.finished_at is not None and job.finished_at < finished_before
        )
        doomed = heapq.nsmallest(limit, ended, key=lambda job: (job.finished_at, job.id))
        for job in doomed:
            del self._jobs[job.id], self._events[job.id]
            if job.key is not None:
                del self._keys[job.owner, job.key]
        return doomed

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record."""
        self._workers[record.instance_id] = _copy(record)

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return [self._workers[name] for name in sorted(self._workers)]

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
        before = self._jobs.get(job.id)
        if before is not None and before.state is JobState.QUEUED:
            queue = self._queues[job.task]
            del queue[bisect_left(queue, _place(before))]
        if job.state is JobState.QUEUED:
            insort(self._queues.setdefault(job.task, []), _place(job))
        (self._claimed.add if job.state is JobState.RUNNING else self._claimed.discard)(job.id)
        if job.key is not None:
            self._keys[job.owner, job.key] = job.id
        self._jobs[job.id] = job
        self._events.setdefault(job.id, []).extend(events)
        return job


def _copy(value: T) -> T:
    # What comes in or goes out by reference could be changed later; what has been through JSON is ours alone.
    copy: T = msgspec.json.decode(msgspec.json.encode(value), type=_TYPES[type(value)])
    return copy


def _place(job: Job) -> Place:
    return (-job.priority, job.run_at, job.id)


def _hold(job: Job) -> Hold:
    return Hold(job.id, job.token)


def _depth(queue: Sequence[Place], now: datetime) -> Depth:
    due = [run_at for _, run_at, _ in queue if run_at <= now]
    oldest = (now - min(due)).total_seconds() if due else 0.0
    return Depth(queued=len(queue), due=len(due), oldest_seconds=oldest)


def _matches(job: Job, where: JobFilter) -> bool:
    return (
        (where.states is None or job.state in where.states)
        and where.task in (None, job.task)
        and where.owner in (None, job.owner)
        and where.batch_id in (None, job.batch_id)
        and (where.created_after is None or job.created_at > where.created_after)
        and (where.created_before is None or job.created_at < where.created_before)
    )
