"""The SQL store: SQLite in one file or a database on a PostgreSQL server, durable before every answer.

Writes go through a thread that commits them in groups; reads go through threads beside it. On a server what running
attempts write has a thread of its own, so that a lease is not lost behind a crowd of new jobs. What the operations do
is in `queue`, `reads` and `writes`; what is special about a database is in `sqlite` and `postgres`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import Connection

from glowplug.clock import Clock
from glowplug.errors import GlowplugError, SettingsError
from glowplug.job import Job, JobEvent, JobRequest
from glowplug.lifecycle import Startable, cancel, stop_all
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
from glowplug.stores import deliveries, queue, reads, writes
from glowplug.stores.database import Database
from glowplug.stores.gathering import Gathering
from glowplug.stores.lanes import Lane
from glowplug.stores.news import NewsWire
from glowplug.stores.postgres import SCHEMES, PostgresAddress, PostgresDatabase, server_now
from glowplug.stores.rules import checked, parse_cursor
from glowplug.stores.schema import ensure_schema
from glowplug.stores.server_time import ASK_AGAIN_SECONDS, ServerTime
from glowplug.stores.sqlite import SqliteDatabase

SCHEME = "sqlite:///"


class SqlStore(Store):
    """Keeps everything in the database that `url` names.

    `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user:password@host:port/database`. On a
    server the time is the server's, unless `server_time` is False: then it is `clock` that counts, as for a file.
    """

    def __init__(
        self, url: str, *, clock: Clock, jitter: Callable[[], float] = random.random, server_time: bool = True
    ) -> None:
        self.url = url
        self._jitter = jitter
        time = ServerTime(clock, server_now)
        self._database = database_of(url, on_reader=time.ask)
        self.shared = self._database.shared
        self._time = time if self.shared and server_time else None
        self._clock = self._time or clock
        self._news = NewsWire(self._database) if isinstance(self._database, PostgresDatabase) else None
        told = self._news.tell if self._news else None
        self._writer = Lane(self._database, writes=True, on_written=told)
        self._keeper = Lane(self._database, writes=True, on_written=told) if self.shared else self._writer
        self._readers = Lane(self._database, writes=False, threads=self._database.readers)
        self._asking: asyncio.Task[None] | None = None
        self._noting = Gathering(self._note)
        self._settling = Gathering(self._settle)

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        """Let `listener` hear of jobs that other gateways wrote."""
        if self._news is not None:
            self._news.follow(listener)

    async def _start(self) -> None:
        self._database.prepare()
        await self._writer.start()
        await self._writer.run(partial(ensure_schema, database=self._database))
        await _start_all([self._keeper, self._readers, *([self._news] if self._news else [])])
        if self._time is not None:
            self._asking = asyncio.create_task(self._keep_time(self._time))

    async def _stop(self) -> None:
        await cancel(self._asking)
        if self._news is not None:
            await self._news.stop()
        await stop_all((self._readers, self._keeper, self._writer))

    async def _keep_time(self, time: ServerTime) -> None:
        while True:
            await self._clock.sleep(ASK_AGAIN_SECONDS)
            with suppress(GlowplugError):
                await self._readers.run(time.ask)

    async def submit(self, requests: Sequence[JobRequest]) -> list[Submission]:
        """Queue all the requests or none."""
        asked = [checked(request) for request in requests]
        return await self._writer.run(partial(writes.submit, requests=asked, now=self._clock.now()))

    async def job(self, job_id: str) -> Job:
        """Return a job."""
        return await self._readers.run(partial(reads.job, job_id=job_id))

    async def jobs(self, where: JobFilter, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """List jobs, newest first."""
        if cursor is not None:
            parse_cursor(cursor)
        return await self._readers.run(partial(reads.job_page, where=where, cursor=cursor, limit=limit))

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Return the events behind `after`."""
        return await self._readers.run(partial(reads.job_events, job_id=job_id, after=after, limit=limit))

    async def position(self, job_id: str, *, limit: int = 10_000) -> int | None:
        """Return how many due jobs are ahead."""
        look = partial(queue.standing, job_id=job_id, limit=limit, now=self._clock.now())
        standing = await self._readers.run(look)
        if standing is not None and standing.overdue is not None:
            await self._line_up([standing.overdue])
            standing = await self._readers.run(look)
        return None if standing is None else standing.ahead

    async def _line_up(self, tasks: Collection[str]) -> None:
        await self._writer.run(partial(writes.line_up, tasks=tasks, now=self._clock.now()))

    async def nth_newest(self, owner: str, n: int, *, task: str | None = None) -> datetime | None:
        """Return when the owner's `n`-th newest job was made."""
        return await self._readers.run(partial(reads.nth_newest, owner=owner, n=n, task=task))

    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task with live jobs."""
        return await self._readers.run(partial(queue.depths, now=self._clock.now()))

    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, *, only: Collection[str] | None = None
    ) -> list[Job]:
        """Hand due jobs to a worker."""
        now = self._clock.now()
        return await self._writer.run(
            partial(writes.claim, worker_id=worker_id, wants=wants, now=now, lease=lease, only=only)
        )

    async def expire(self, *, limit: int = 100) -> list[Job]:
        """End queued jobs whose time to start is over."""
        return await self._writer.run(partial(writes.expire, now=self._clock.now(), limit=limit))

    async def undispatched(self, tasks: Collection[str], *, limit: int) -> list[Job]:
        """Return the due jobs whose hint no broker has."""
        now = self._clock.now()
        overdue = await self._readers.run(partial(queue.overdue_tasks, tasks=tasks, now=now))
        if overdue:
            await self._line_up(overdue)
        return await self._readers.run(partial(queue.undispatched, tasks=tasks, limit=limit, now=now))

    async def dispatched(self, tasks: Collection[str]) -> int:
        """Return how many queued jobs of `tasks` have their hint at a broker."""
        return await self._readers.run(partial(queue.dispatched, tasks=tasks))

    async def mark_dispatched(self, job_ids: Collection[str]) -> None:
        """Say that a broker has taken the hints of these jobs."""
        await self._writer.run(partial(writes.mark_dispatched, job_ids=job_ids, now=self._clock.now()))

    async def mark_lost(self, tasks: Collection[str], dispatched_before: datetime) -> int:
        """Take the mark from jobs dispatched before then."""
        return await self._writer.run(partial(writes.mark_lost, tasks=tasks, dispatched_before=dispatched_before))

    async def renew(self, holds: Sequence[Hold], lease: timedelta) -> list[Renewal]:
        """Extend the leases that are still held."""
        return await self._keeper.run(partial(writes.renew, holds=holds, now=self._clock.now(), lease=lease))

    async def note(self, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report."""
        return await self._noting.add(reports)

    async def _note(self, reports: Sequence[Report]) -> list[bool]:
        return await self._keeper.run(partial(writes.note, reports=reports, now=self._clock.now()))

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts."""
        return await self._settling.add(settlements)

    async def _settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        now = self._clock.now()
        return await self._keeper.run(partial(writes.settle_all, settlements=settlements, now=now, jitter=self._jitter))

    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker."""
        return await self._readers.run(partial(reads.held_by, worker_id=worker_id))

    async def expired(self, *, limit: int = 100) -> list[Hold]:
        """List the holds whose lease has run out."""
        return await self._readers.run(partial(reads.expired, now=self._clock.now(), limit=limit))

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop."""
        return await self._writer.run(partial(writes.cancel, job_id=job_id, now=self._clock.now()))

    async def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again."""
        return await self._writer.run(partial(writes.retry, job_id=job_id, now=self._clock.now()))

    async def next_due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return the seconds until the next queued job of `tasks` becomes due."""
        return await self._readers.run(partial(queue.next_due_seconds, tasks=tasks, now=self._clock.now()))

    async def clean(self, finished_before: datetime, *, limit: int = 500) -> list[Job]:
        """Delete ended jobs and their events."""
        return await self._writer.run(partial(writes.clean, finished_before=finished_before, limit=limit))

    async def undelivered(self, door: str, *, limit: int = 100) -> list[Delivery]:
        """Return the deliveries of `door` that are due."""
        now = self._clock.now()
        return await self._readers.run(partial(deliveries.undelivered, door=door, now=now, limit=limit))

    async def next_delivery_seconds(self, door: str) -> float | None:
        """Return the seconds until the next delivery of `door` is due."""
        return await self._readers.run(partial(deliveries.next_delivery_seconds, door=door, now=self._clock.now()))

    async def save_deliveries(self, told: Sequence[Delivery]) -> None:
        """Write how far doors were told."""
        await self._writer.run(partial(deliveries.save_deliveries, told=told, now=self._clock.now()))

    async def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job."""
        return await self._readers.run(partial(deliveries.of_job, job_id=job_id))

    async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
        """Become or stay the one who does `duty`."""
        now = self._clock.now()
        return await self._writer.run(partial(writes.lead, duty=duty, holder=holder, now=now, term=term))

    async def resign(self, duty: str, holder: str) -> None:
        """Let somebody else lead at once."""
        await self._writer.run(partial(writes.resign, duty=duty, holder=holder))

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record."""
        await self._writer.run(partial(writes.save_worker, record=record))

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return await self._readers.run(reads.all_workers)

    async def worker(self, instance_id: str) -> WorkerRecord | None:
        """Return a worker."""
        return await self._readers.run(partial(reads.worker, instance_id=instance_id))

    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record."""
        await self._writer.run(partial(writes.forget_worker, instance_id=instance_id))

    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info."""
        await self._writer.run(partial(writes.save_model, info=info))

    async def models(self) -> list[ModelInfo]:
        """Return all models."""
        return await self._readers.run(reads.all_models)


async def _start_all(parts: Iterable[Startable]) -> None:
    """Start parts that do not need each other; when one fails the others have started and can be stopped."""
    ends = await asyncio.gather(*(part.start() for part in parts), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


def database_of(url: str, *, on_reader: Callable[[Connection], None] | None = None) -> Database:
    """Return the database that `url` names; one on a server calls `on_reader`. Raises `SettingsError`."""
    if url.partition(":")[0] in SCHEMES:
        return PostgresDatabase(PostgresAddress.parse(url), on_reader=on_reader)
    return SqliteDatabase(_path_of(url))


def _path_of(url: str) -> Path:
    path = unquote(url.removeprefix(SCHEME))
    if not url.startswith(SCHEME) or not path or path == ":memory:":
        # Nothing of it is shown: what is mistyped may hold a password all the same.
        raise SettingsError("not a store: use sqlite:///PATH or postgresql://user:password@host:port/database")
    return Path(path)
