"""Retention: what is old goes, and so does what a lost attempt has left behind; everything stays bounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from glowplug.artifact import ArtifactStore, Stat
from glowplug.clock import Clock
from glowplug.errors import NotFound
from glowplug.events import emit
from glowplug.gateway.dispatch import Duty
from glowplug.gateway.policy import Pace, Retention
from glowplug.gateway.shelf import referenced, token_of
from glowplug.job import Job, JobState
from glowplug.store import Store

CLEAN_LIMIT = 200
JOBS_REMEMBERED = 256


@dataclass(slots=True)
class Swept:
    """What one turn has deleted."""

    jobs: int = 0
    artifacts: int = 0
    size_bytes: int = 0


def is_leftover(key: str, job: Job | None) -> bool:
    """Say whether nobody can ever ask for a job's artifact again: its job is gone, or its attempt was lost."""
    if job is None:
        return True
    if key in referenced(job):
        return False
    return job.done or token_of(key) < job.token or job.state is JobState.QUEUED


class Cleaner(Duty):
    """Deletes ended jobs past their time, the artifacts of such jobs, and old uploads and results of direct calls."""

    name = "retention"

    def __init__(self, store: Store, artifacts: ArtifactStore, clock: Clock, retention: Retention, pace: Pace) -> None:
        super().__init__(pace.clean_seconds, first_seconds=min(60.0, pace.clean_seconds))
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._retention = retention
        self._known: OrderedDict[str, Job | None] = OrderedDict()

    async def turn(self) -> None:
        """Delete what is due."""
        now, swept = self._clock.now(), Swept()
        self._known.clear()
        await self._clean_jobs(now, swept)
        await self._sweep_old("inputs", now - timedelta(seconds=self._retention.inputs_seconds), swept)
        await self._sweep_old("calls", now - timedelta(seconds=self._retention.calls_seconds), swept)
        await self._sweep_old("uploads", now - timedelta(seconds=self._retention.uploads_seconds), swept)
        await self._sweep_leftovers(now - timedelta(seconds=self._retention.stale_seconds), swept)
        if swept.jobs or swept.artifacts:
            emit("retention.cleaned", jobs=swept.jobs, artifacts=swept.artifacts, bytes=swept.size_bytes)

    async def _clean_jobs(self, now: datetime, swept: Swept) -> None:
        before = now - timedelta(seconds=self._retention.jobs_seconds)
        while jobs := await self._store.clean(before, limit=CLEAN_LIMIT):
            swept.jobs += len(jobs)
            for job in jobs:
                await self._delete_folder(f"jobs/{job.id}", swept)
            if len(jobs) < CLEAN_LIMIT:
                return

    async def _delete_folder(self, prefix: str, swept: Swept) -> None:
        # Listed first: not every store likes to lose what it is just listing.
        for stat in [stat async for stat in self._artifacts.walk(prefix)]:
            await self._delete(stat, swept)

    async def _sweep_old(self, prefix: str, before: datetime, swept: Swept) -> None:
        async for stat in self._artifacts.walk(prefix):
            if stat.modified_at < before:
                await self._delete(stat, swept)

    async def _sweep_leftovers(self, before: datetime, swept: Swept) -> None:
        async for stat in self._artifacts.walk("jobs"):
            if stat.modified_at < before and is_leftover(stat.key, await self._job(stat.key.split("/")[1])):
                await self._delete(stat, swept)

    async def _job(self, job_id: str) -> Job | None:
        if job_id not in self._known:
            try:
                self._known[job_id] = await self._store.job(job_id)
            except NotFound:
                self._known[job_id] = None
            if len(self._known) > JOBS_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[job_id]

    async def _delete(self, stat: Stat, swept: Swept) -> None:
        await self._artifacts.delete(stat.key)
        swept.artifacts += 1
        swept.size_bytes += stat.size_bytes
