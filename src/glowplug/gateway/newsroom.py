"""The newsroom: what other gateways on the same store wrote, passed on to those whom it concerns here.

News may be late or lost: everybody who is told here looks by himself too, only later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress

from glowplug.clock import Clock
from glowplug.errors import GlowplugError
from glowplug.events import emit
from glowplug.gateway.catalog import Catalog
from glowplug.gateway.dispatch import Duty
from glowplug.gateway.policy import Pace
from glowplug.gateway.registry import Registry
from glowplug.job import Job, JobState
from glowplug.lifecycle import Startable, cancel
from glowplug.store import News, Renewal, Store

# Many changes within a moment are told as one: a whole crowd may be woken by them.
GATHER_SECONDS = 0.02
# Whether a job that runs here was canceled is asked so often at most, however much it reports.
DOUBT_SECONDS = 1.0

Listener = Callable[[Collection[str], Collection[str]], Awaitable[None]]


async def _ignore(jobs: Collection[str], tasks: Collection[str]) -> None:
    del jobs, tasks


class Newsroom(Startable):
    """Gathers news. `on_news` hears of jobs and tasks, `on_cancel` of jobs that run here and shall stop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._jobs: set[str] = set()
        self._tasks: set[str] = set()
        self._here: set[str] = set()
        self._doubtful: set[str] = set()
        self._news, self._doubts = asyncio.Event(), asyncio.Event()
        self._keeping: list[asyncio.Task[None]] = []
        self.on_news: Listener = _ignore
        self.on_cancel: Callable[[Job], None] = lambda job: None

    async def _start(self) -> None:
        self._keeping = [
            asyncio.create_task(self._pass_on(), name="news"),
            asyncio.create_task(self._ask(), name="cancels"),
        ]

    async def _stop(self) -> None:
        for task in self._keeping:
            await cancel(task)
        self._keeping = []

    def heard(self, news: Sequence[News]) -> None:
        """Take in what the store tells; what comes while nobody is here is seen without it."""
        if not self.started:
            return
        for one in news:
            self._jobs.add(one.job_id)
            self._tasks.add(one.task)
        self._news.set()

    # Which jobs run on workers that call here.

    def claimed(self, jobs: Iterable[Job]) -> None:
        """Note jobs that were handed to workers here."""
        self._here.update(job.id for job in jobs)

    def renewed(self, renewals: Iterable[Renewal]) -> None:
        """Note jobs whose leases were renewed here; their workers may have called another gateway before."""
        for renewal in renewals:
            (self._here.add if renewal.held else self._here.discard)(renewal.hold.job_id)

    def written(self, jobs: Iterable[Job]) -> None:
        """Forget jobs that run no more."""
        self._here.difference_update(job.id for job in jobs if job.state is not JobState.RUNNING)

    async def _pass_on(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            jobs, self._jobs = self._jobs, set()
            tasks, self._tasks = self._tasks, set()
            await self._tell(jobs, tasks)
            self._doubtful |= jobs & self._here
            if self._doubtful:
                self._doubts.set()
            await self._clock.sleep(GATHER_SECONDS)

    async def _tell(self, jobs: Collection[str], tasks: Collection[str]) -> None:
        try:
            await self.on_news(jobs, tasks)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next news may be of use
            emit("duty.failed", duty="news", error=f"{type(error).__name__}: {error}", exception=error)

    async def _ask(self) -> None:
        while True:
            await self._doubts.wait()
            self._doubts.clear()
            doubtful, self._doubtful = self._doubtful, set()
            for job_id in doubtful:
                with suppress(GlowplugError):
                    self._judge(await self._store.job(job_id))
            await self._clock.sleep(DOUBT_SECONDS)

    def _judge(self, job: Job) -> None:
        if job.state is not JobState.RUNNING:
            self._here.discard(job.id)
        elif job.cancel_requested_at is not None:
            self.on_cancel(job)


class Sharing(Duty):
    """Keeps what several gateways know of workers and models the same: each reads what the others wrote."""

    name = "sharing"

    def __init__(self, registry: Registry, catalog: Catalog, pace: Pace) -> None:
        super().__init__(pace.share_seconds)
        self._registry = registry
        self._catalog = catalog

    async def turn(self) -> None:
        """Read and write once."""
        await self._catalog.refresh()
        await self._registry.refresh()
