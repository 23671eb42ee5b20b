"""The store on MongoDB, for several gateways at once.

A job is one document and every write of it a compare-and-set on its `rev`; nothing here needs a transaction over
several documents. How requests are queued all or none is in `submissions`, how events reach their collection in
`changes`. Every answer is confirmed by a majority of the replica set, journal included.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from glowplug.clock import Clock
from glowplug.errors import BugError
from glowplug.job import Job, JobEvent, JobRequest
from glowplug.store import (
    Delivery,
    Depth,
    Hold,
    JobFilter,
    JobPage,
    ModelInfo,
    News,
    Renewal,
    Report,
    Settled,
    Settlement,
    Store,
    Submission,
    Want,
    WorkerRecord,
)
from glowplug.stores.mongo import transitions
from glowplug.stores.mongo.address import MongoAddress
from glowplug.stores.mongo.failures import translated
from glowplug.stores.mongo.session import Session
from glowplug.stores.rules import checked, parse_cursor

HEAL_SECONDS = 10.0

A = TypeVar("A")


class MongoStore(Store):
    """Keeps everything in the database that `url` names: `mongodb://HOST/DATABASE`, `mongodb+srv://HOST/DATABASE`.

    Times are the server's; with `server_time` False they are those of `clock`, which a test winds.
    """

    shared = True

    def __init__(
        self, url: str, *, clock: Clock, jitter: Callable[[], float] = random.random, server_time: bool = True
    ) -> None:
        self._address = MongoAddress.parse(url)
        self._clock = clock
        self._jitter = jitter
        self._server_time = server_time
        self._listeners: list[Callable[[Sequence[News]], None]] = []
        self._session: Session | None = None
        self._healed = 0.0

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        """Let `listener` hear of jobs that were written."""
        self._listeners.append(listener)

    async def _start(self) -> None:
        with translated(self._address.shown):
            self._session = Session(self._address, self._clock, self._server_time, tuple(self._listeners))
            await self._session.start()
            await self._session.submissions.heal(self._session.now())
        self._healed = self._clock.monotonic()

    async def _stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.stop()

    async def _ask(self, work: Callable[[Session, datetime], Coroutine[Any, Any, A]]) -> A:
        if self._session is None:
            raise BugError("the store has not been started")
        with translated(self._address.shown):
            return await self._session.to_the_end(work(self._session, self._session.now()))

    async def submit(self, requests: Sequence[JobRequest]) -> list[Submission]:
        """Queue all the requests or none."""
        asked = [checked(request) for request in requests]
        return await self._ask(lambda session, now: session.submissions.submit(asked, now))

    async def job(self, job_id: str) -> Job:
        """Return a job."""
        return await self._ask(lambda session, now: session.reads.job(job_id))

    async def jobs(self, where: JobFilter, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """List jobs, newest first."""
        if cursor is not None:
            parse_cursor(cursor)
        return await self._ask(lambda session, now: session.reads.page(where, cursor, limit))

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Return the events behind `after`."""
        return await self._ask(lambda session, now: session.reads.events(job_id, after, limit))

    async def position(self, job_id: str, *, limit: int = 10_000) -> int | None:
        """Return how many due jobs are ahead."""
        return await self._ask(lambda session, now: session.queue.position(job_id, limit, now))

    async def nth_newest(self, owner: str, n: int, *, task: str | None = None) -> datetime | None:
        """Return when the owner's `n`-th newest job was made."""
        return await self._ask(lambda session, now: session.reads.nth_newest(owner, n, task))

    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task with live jobs."""
        return await self._ask(lambda session, now: session.queue.depths(now))

    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, *, only: Collection[str] | None = None
    ) -> list[Job]:
        """Hand due jobs to a worker."""
        return await self._ask(lambda session, now: session.queue.claim(worker_id, wants, lease, only, now))

    async def expire(self, *, limit: int = 100) -> list[Job]:
        """End queued jobs whose time to start is over."""

        async def work(session: Session, now: datetime) -> list[Job]:
            lapsed = await session.queue.lapsed(limit, now)
            return await transitions.expire(session.changes, lapsed, now)

        return await self._ask(work)

    async def undispatched(self, tasks: Collection[str], *, limit: int) -> list[Job]:
        """Return the due jobs whose hint no broker has."""
        return await self._ask(lambda session, now: session.queue.undispatched(tasks, limit, now))

    async def dispatched(self, tasks: Collection[str]) -> int:
        """Return how many queued jobs of `tasks` have their hint at a broker."""
        return await self._ask(lambda session, now: session.queue.dispatched(tasks))

    async def mark_dispatched(self, job_ids: Collection[str]) -> None:
        """Say that a broker has taken the hints of these jobs."""
        await self._ask(lambda session, now: session.queue.mark_dispatched(job_ids, now))

    async def mark_lost(self, tasks: Collection[str], dispatched_before: datetime) -> int:
        """Take the mark from jobs dispatched before then."""
        return await self._ask(lambda session, now: session.queue.mark_lost(tasks, dispatched_before))

    async def renew(self, holds: Sequence[Hold], lease: timedelta) -> list[Renewal]:
        """Extend the leases that are still held."""
        return await self._ask(lambda session, now: transitions.renew(session.changes, holds, lease, now))

    async def note(self, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report."""
        return await self._ask(lambda session, now: transitions.note(session.changes, reports, now))

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts."""
        return await self._ask(
            lambda session, now: transitions.settle_all(session.changes, settlements, now, self._jitter)
        )

    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker."""
        return await self._ask(lambda session, now: session.queue.held_by(worker_id))

    async def expired(self, *, limit: int = 100) -> list[Hold]:
        """List the holds whose lease has run out; now and then, end what gateways that are gone have begun."""

        async def work(session: Session, now: datetime) -> list[Hold]:
            if self._clock.monotonic() - self._healed >= HEAL_SECONDS:
                self._healed = self._clock.monotonic()
                await session.submissions.heal(now)
            return await session.queue.expired(limit, now)

        return await self._ask(work)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop."""
        return await self._ask(lambda session, now: transitions.cancel(session.changes, job_id, now))

    async def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again."""
        return await self._ask(lambda session, now: transitions.retry(session.changes, job_id, now))

    async def next_due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return the seconds until the next queued job of `tasks` becomes due."""
        return await self._ask(lambda session, now: session.queue.next_due_seconds(tasks, now))

    async def clean(self, finished_before: datetime, *, limit: int = 500) -> list[Job]:
        """Delete ended jobs and their events."""
        return await self._ask(lambda session, now: session.reads.clean(finished_before, limit))

    async def undelivered(self, door: str, *, limit: int = 100) -> list[Delivery]:
        """Return the deliveries of `door` that are due."""
        return await self._ask(lambda session, now: session.deliveries.due(door, limit, now))

    async def next_delivery_seconds(self, door: str) -> float | None:
        """Return the seconds until the next delivery of `door` is due."""
        return await self._ask(lambda session, now: session.deliveries.next_seconds(door, now))

    async def save_deliveries(self, told: Sequence[Delivery]) -> None:
        """Write how far doors were told."""
        await self._ask(lambda session, now: session.deliveries.save(told, now))

    async def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job."""
        return await self._ask(lambda session, now: session.deliveries.of_job(job_id))

    async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
        """Become or stay the one who does `duty`."""
        return await self._ask(lambda session, now: session.registry.lead(duty, holder, term, now))

    async def resign(self, duty: str, holder: str) -> None:
        """Let somebody else lead at once."""
        await self._ask(lambda session, now: session.registry.resign(duty, holder))

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record."""
        await self._ask(lambda session, now: session.registry.save_worker(record))

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return await self._ask(lambda session, now: session.registry.workers())

    async def worker(self, instance_id: str) -> WorkerRecord | None:
        """Return a worker."""
        return await self._ask(lambda session, now: session.registry.worker(instance_id))

    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record."""
        await self._ask(lambda session, now: session.registry.forget_worker(instance_id))

    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info."""
        await self._ask(lambda session, now: session.registry.save_model(info))

    async def models(self) -> list[ModelInfo]:
        """Return all models."""
        return await self._ask(lambda session, now: session.registry.models())
