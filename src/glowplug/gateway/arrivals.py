"""Arrivals: the intake where a broker carries the hints.

The broker is told how many free slots the waiting claims have for each model, and hands over that many hints at most.
Whatever has arrived when a worker looks is claimed in one transaction.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

from glowplug.broker import Broker
from glowplug.clock import Clock
from glowplug.gateway.catalog import model_of
from glowplug.gateway.intake import Confirm, Intake
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.seats import Wants, slots_by_model
from glowplug.gateway.used_hints import UsedHints
from glowplug.job import Job
from glowplug.lifecycle import cancel
from glowplug.store import Store

# A worker asks again within a few milliseconds of an answer: until then its slots stay open, or each job would cost
# the broker a consumer closed and opened.
LINGER_SECONDS = 0.05


class Arrivals(Intake):
    """Claims the very jobs whose hints have arrived, and opens the broker's intake as wide as the free slots.

    `tasks` names every known task: a hint comes for a model, and may be of a task of it that no worker here has.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        ledger: Ledger,
        lease: timedelta,
        clock: Clock,
        tasks: Callable[[], Iterable[str]],
    ) -> None:
        super().__init__(store, broker, ledger, lease)
        self._clock = clock
        self._tasks = tasks
        self._slots: Counter[str] = Counter()
        self._peak: Counter[str] = Counter()
        self._wanted: dict[str, int] = {}
        self._lingering: asyncio.Task[None] | None = None
        self._used = UsedHints(store, broker, clock)
        self._closed = False

    async def _start(self) -> None:
        await self._used.start()
        self._closed = False

    async def _stop(self) -> None:
        self.shut()
        await self._used.stop()
        await cancel(self._lingering)
        self._lingering = None

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for hints of the same models: one that is of no use here must not lie in the way of others."""
        models = {model_of(task) for task in tasks}
        related = {task for task in self._tasks() if model_of(task) in models}
        return await super().wait([*related.union(tasks)], since=since, timeout_seconds=timeout_seconds)

    async def due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return None: what becomes due is published then, and its hint wakes."""
        del tasks
        return None

    async def wake(self, tasks: Collection[str]) -> None:
        """Wake nobody: what another gateway has queued comes as a hint."""

    async def take(self, worker_id: str, wants: Wants, confirm: Confirm) -> list[Job]:
        """Claim the jobs whose hints have arrived, as far as the worker has room for them."""
        arrivals = self._broker.take(slots_by_model(wants))
        if not arrivals:
            return []
        jobs: list[Job] = []
        offered = {task for want in wants for task in want.tasks}
        try:
            wants = await confirm() if self._store.shared else wants
            if wants:
                ids = {arrival.hint.job_id for arrival in arrivals}
                jobs = await self._ledger.claim(worker_id, wants, self._lease, only=ids)
        finally:
            self._used.sort(arrivals, {job.id for job in jobs}, offered)
        return jobs

    # How wide the broker's intake is open.

    def changed(self, before: Wants, after: Wants) -> None:
        """Take in what a waiting claim offers now: more at once, less after a moment."""
        if before == after:
            return
        self._slots.subtract(slots_by_model(before))
        self._slots.update(slots_by_model(after))
        self._peak |= self._slots
        self._open_for(Counter(self._wanted) | self._slots)
        if self._lingering is None and not self._closed and self._wanted != dict(+self._slots):
            self._lingering = asyncio.create_task(self._linger(), name="intake")

    def shut(self) -> None:
        """Let nothing more come in; what has come goes back."""
        self._closed = True
        self._wanted = {}
        self._broker.want({})

    async def _linger(self) -> None:
        # What was free at any time within the last moment stays open: under load that is all that is ever used.
        while not self._closed and self._wanted != dict(+self._slots):
            self._peak = +self._slots
            await self._clock.sleep(LINGER_SECONDS)
            self._open_for(self._peak)
        self._lingering = None

    def _open_for(self, slots: Counter[str]) -> None:
        wanted = dict(+slots)
        if not self._closed and wanted != self._wanted:
            self._wanted = wanted
            self._broker.want(wanted)
