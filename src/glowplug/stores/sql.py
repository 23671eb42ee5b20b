"""The SQL store: SQLite in one file, durable before every answer.

Writes go through one thread that commits them in groups; reads go through threads beside it. What the operations do
is in `queue`, `reads` and `writes`; what is special about the database is in `sqlite`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from glowplug.clock import Clock
from glowplug.errors import SettingsError
from glowplug.job import Job, JobEvent, JobRequest
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
from glowplug.stores import queue, reads, writes
from glowplug.stores.lanes import Lane
from glowplug.stores.rules import checked, parse_cursor
from glowplug.stores.schema import ensure_schema
from glowplug.stores.sqlite import SqliteDatabase

SCHEME = "sqlite:///"


class SqlStore(Store):
    """Keeps everything in the database that `url` names: `sqlite:///relative/path` or `sqlite:////absolute/path`."""

    def __init__(self, url: str, *, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self.url = url
        self._clock = clock
        self._jitter = jitter
        self._database = SqliteDatabase(_path_of(url))
        self._writer = Lane(self._database, writes=True)
        self._readers = Lane(self._database, writes=False, threads=self._database.readers)

    async def _start(self) -> None:
        self._database.prepare()
        await self._writer.start()
        await self._writer.run(ensure_schema)
        await self._readers.start()

    async def _stop(self) -> None:
        await self._readers.stop()
        await self._writer.stop()

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
        return await self._readers.run(partial(queue.position, job_id=job_id, limit=limit, now=self._clock.now()))

    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task with live jobs."""
        return await self._readers.run(partial(queue.depths, now=self._clock.now()))

    async def claim(self, worker_id: str, wants: Sequence[Want], lease: timedelta) -> list[Job]:
        """Hand due jobs to a worker."""
        now = self._clock.now()
        return await self._writer.run(partial(writes.claim, worker_id=worker_id, wants=wants, now=now, lease=lease))

    async def renew(self, holds: Sequence[Hold], lease: timedelta) -> list[Renewal]:
        """Extend the leases that are still held."""
        return await self._writer.run(partial(writes.renew, holds=holds, now=self._clock.now(), lease=lease))

    async def note(self, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report."""
        return await self._writer.run(partial(writes.note, reports=reports, now=self._clock.now()))

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts."""
        now = self._clock.now()
        return await self._writer.run(partial(writes.settle_all, settlements=settlements, now=now, jitter=self._jitter))

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

    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record."""
        await self._writer.run(partial(writes.save_worker, record=record))

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers."""
        return await self._readers.run(reads.all_workers)

    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record."""
        await self._writer.run(partial(writes.forget_worker, instance_id=instance_id))

    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info."""
        await self._writer.run(partial(writes.save_model, info=info))

    async def models(self) -> list[ModelInfo]:
        """Return all models."""
        return await self._readers.run(reads.all_models)


def _path_of(url: str) -> Path:
    path = unquote(url.removeprefix(SCHEME))
    if not url.startswith(SCHEME) or not path or path == ":memory:":
        raise SettingsError(f"not a store: {url[:80]!r}; use sqlite:///PATH")
    return Path(path)
