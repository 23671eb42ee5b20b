"""The ledger: the one hand through which the gateway writes jobs, and which tells everybody about it.

Store first, then the feed, the hints and the events: nobody hears of what is not durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock
from glowplug.errors import RemoteError
from glowplug.events import emit
from glowplug.gateway.feed import Feed
from glowplug.job import Job, JobRequest, JobState, OutcomeKind
from glowplug.store import Hold, Report, Settled, Settlement, Store, Submission, Want

CancelListener = Callable[[Job], None]
SettleListener = Callable[[Job], None]
NotesListener = Callable[[Sequence[Report]], None]
JobsListener = Callable[[Sequence[Job]], None]


class Ledger:
    """Writes jobs and spreads the word.

    `on_queued` and `on_claim` hear of jobs that wait and that wait no more, `on_written` of all that got new events but
    for what running attempts report, of which `on_notes` hears.
    """

    def __init__(self, store: Store, broker: Broker, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._feed = feed
        self._clock = clock
        self.on_cancel: CancelListener = _ignore
        self.on_settle: SettleListener = _ignore
        self.on_notes: NotesListener = _ignore
        self.on_queued: JobsListener = _ignore
        self.on_claim: JobsListener = _ignore
        self.on_written: JobsListener = _ignore

    async def submit(self, requests: Sequence[JobRequest]) -> list[Submission]:
        """Queue all or none. Raises `IdempotencyMismatch` and what the store raises."""
        submissions = await self._store.submit(requests)
        new = [submission.job for submission in submissions if submission.created]
        for job in new:
            emit("job.submitted", job=job.id, task=job.task, owner=job.owner)
        self.on_written(new)
        await self._hint(new)
        return submissions

    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, *, only: Collection[str] | None = None
    ) -> list[Job]:
        """Hand due jobs to a worker; with `only`, none but those."""
        jobs = await self._store.claim(worker_id, wants, lease, only=only)
        self.on_claim(jobs)
        self.on_written(jobs)
        for job in jobs:
            self._feed.changed(job.id)
            emit(
                "job.started",
                job=job.id,
                task=job.task,
                worker=worker_id,
                attempt=job.attempt,
                waited_seconds=_waited_seconds(job),
            )
        return jobs

    async def note(self, worker_id: str, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report; False for each lost lease."""
        accepted = await self._store.note(reports)
        self.on_notes([report for report, held in zip(reports, accepted, strict=True) if held])
        for report, held in zip(reports, accepted, strict=True):
            if held:
                self._feed.changed(report.hold.job_id)
            else:
                emit("job.lease_lost", job=report.hold.job_id, worker=worker_id)
        return accepted

    async def settle(self, worker_id: str, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts; a refused one belongs to a lost lease."""
        answers = await self._store.settle(settlements)
        again: list[Job] = []
        for settlement, answer in zip(settlements, answers, strict=True):
            if not answer.accepted or answer.job is None:
                emit("job.lease_lost", job=answer.hold.job_id, worker=worker_id)
                continue
            self._tell_settled(answer.job, settlement.outcome.kind)
            if answer.job.state is JobState.QUEUED:
                again.append(answer.job)
        self.on_written([answer.job for answer in answers if answer.accepted and answer.job is not None])
        await self._hint(again)
        return answers

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Raises `NotFound`, `Conflict`."""
        job = await self._store.cancel(job_id)
        self._feed.settled(job)
        self.on_cancel(job)
        self.on_written([job])
        return job

    async def expire(self, *, limit: int) -> list[Job]:
        """End queued jobs whose time to start is over."""
        jobs = await self._store.expire(limit=limit)
        for job in jobs:
            self._feed.settled(job)
            self._tell_failed(job)
        self.on_written(jobs)
        return jobs

    async def retry(self, job_id: str) -> Job:
        """Queue an ended job again. Raises `NotFound`, `Conflict`."""
        job = await self._store.retry(job_id)
        self._feed.settled(job)
        self.on_written([job])
        await self._hint([job])
        return job

    async def expired(self) -> list[Hold]:
        """List the holds whose lease has run out."""
        return await self._store.expired()

    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker."""
        return await self._store.held_by(worker_id)

    def _tell_settled(self, job: Job, kind: OutcomeKind) -> None:
        self._feed.settled(job)
        self.on_settle(job)
        emit(
            "job.settled",
            job=job.id,
            task=job.task,
            state=job.state.value,
            outcome=kind.value,
            seconds=last_run_seconds(job) or 0.0,
        )
        if job.state is JobState.FAILED:
            self._tell_failed(job)

    def _tell_failed(self, job: Job) -> None:
        error = job.failure.message if job.failure else ""
        emit("job.failed", job=job.id, task=job.task, attempts=job.attempt, error=error)

    async def _hint(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        self.on_queued(jobs)
        if self._broker.carries:
            return
        hints = [Hint(job.id, job.task, job.priority) for job in jobs]
        # A lost hint delays a job until the reconciler repeats it; the job itself is safe in its row.
        with suppress(RemoteError):
            await self._broker.publish(hints)


def last_run_seconds(job: Job) -> float | None:
    """Return how long the last ended attempt ran."""
    last = job.attempts[-1] if job.attempts else None
    if last is None or last.ended_at is None:
        return None
    return max(0.0, (last.ended_at - last.started_at).total_seconds())


def _waited_seconds(job: Job) -> float:
    return max(0.0, (job.attempts[-1].started_at - job.run_at).total_seconds())


def _ignore(_: object) -> None:
    """Hear of a change and do nothing."""
