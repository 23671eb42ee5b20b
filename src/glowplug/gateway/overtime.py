"""Overtime: runs that have long passed their task's limit, and whose worker does not end them, are ended from here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from glowplug.clock import Clock
from glowplug.errors import DeadlineExceeded
from glowplug.gateway.dispatch import Duty
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.policy import Pace
from glowplug.job import Failure, Job, JobState, Outcome, OutcomeKind
from glowplug.store import Hold, JobFilter, Settlement, Store, TaskInfo

# A worker counts from when the call has begun; before that it may have had large files to fetch.
MARGIN_SECONDS = 600.0
PAGE_JOBS = 200


class Overtime(Duty):
    """Ends what runs far too long. The worker hears of it when it renews its lease, and stops."""

    name = "overtime"

    def __init__(
        self, store: Store, ledger: Ledger, clock: Clock, tasks: Callable[[], Mapping[str, TaskInfo]], pace: Pace
    ) -> None:
        super().__init__(pace.reconcile_seconds)
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._tasks = tasks

    async def turn(self) -> None:
        """Look at all that runs."""
        if not any(task.timeout_seconds is not None for task in self._tasks().values()):
            return
        async for job in self._running():
            limit = self._limit_seconds(job)
            if limit is not None and self._ran_seconds(job) > limit + MARGIN_SECONDS:
                await self._end(job, limit)

    async def _running(self) -> AsyncIterator[Job]:
        cursor: str | None = None
        while True:
            page = await self._store.jobs(JobFilter(states=(JobState.RUNNING,)), cursor=cursor, limit=PAGE_JOBS)
            for job in page.jobs:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    def _limit_seconds(self, job: Job) -> float | None:
        task = self._tasks().get(job.task)
        return task.timeout_seconds if task is not None else None

    def _ran_seconds(self, job: Job) -> float:
        return (self._clock.now() - job.attempts[-1].started_at).total_seconds() if job.attempts else 0.0

    async def _end(self, job: Job, limit: float) -> None:
        why = f"{job.task} took longer than {limit:g} s, and its worker did not end it"
        outcome = Outcome(OutcomeKind.FAILED, failure=Failure(DeadlineExceeded.code, why))
        await self._ledger.settle(job.worker_id or "", [Settlement(Hold(job.id, job.token), outcome)])
