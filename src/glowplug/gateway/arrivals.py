"""Arrivals: the intake where a broker carries the hints.

The broker is told how many free slots the waiting claims have for each model, and hands over that many hints at most.
Whatever has arrived when a worker looks is claimed in one transaction; a hint is acknowledged once its job has been
claimed or never can be, and given back while its job waits and nobody here may take it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from glowplug.broker import Arrival, Broker
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, NotFound
from glowplug.gateway.intake import Confirm, Intake
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.seats import Wants, slots_by_model
from glowplug.gateway.waits import woken
from glowplug.job import Job, JobState
from glowplug.lifecycle import cancel
from glowplug.store import Store

# A worker asks again within a few milliseconds of an answer: until then its slots stay open, or each job would cost
# the broker a consumer closed and opened.
LINGER_SECONDS = 0.05
# A hint that could not be used is given back after a moment, or it would come straight back to us.
PAUSE_SECONDS = 0.1


class Arrivals(Intake):
    """Claims the very jobs whose hints have arrived, and opens the broker's intake as wide as the free slots."""

    def __init__(self, store: Store, broker: Broker, ledger: Ledger, lease: timedelta, clock: Clock) -> None:
        super().__init__(store, broker, ledger, lease)
        self._clock = clock
        self._slots: Counter[str] = Counter()
        self._peak: Counter[str] = Counter()
        self._wanted: dict[str, int] = {}
        self._lingering: asyncio.Task[None] | None = None
        self._spent: deque[Arrival] = deque()
        self._acknowledging: asyncio.Task[None] | None = None
        self._sorting: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def _start(self) -> None:
        self._closed.clear()

    async def _stop(self) -> None:
        self.shut()
        if under_way := [*self._sorting, *([self._acknowledging] if self._acknowledging else [])]:
            await asyncio.wait(under_way)
        await cancel(self._lingering)
        self._lingering = None

    async def due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return None: what becomes due is published then, and its hint wakes."""
        del tasks
        return None

    async def take(self, worker_id: str, wants: Wants, confirm: Confirm) -> list[Job]:
        """Claim the jobs whose hints have arrived, as far as the worker has room for them."""
        arrivals = self._broker.take(slots_by_model(wants))
        if not arrivals:
            return []
        jobs: list[Job] = []
        try:
            wants = await confirm() if self._store.shared else wants
            if wants:
                ids = {arrival.hint.job_id for arrival in arrivals}
                jobs = await self._ledger.claim(worker_id, wants, self._lease, only=ids)
        finally:
            self._sort(arrivals, {job.id for job in jobs})
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
        if self._lingering is None and not self._closed.is_set() and self._wanted != dict(+self._slots):
            self._lingering = asyncio.create_task(self._linger(), name="intake")

    def shut(self) -> None:
        """Let nothing more come in; what has come goes back."""
        self._closed.set()
        self._wanted = {}
        self._broker.want({})

    async def _linger(self) -> None:
        # What was free at any time within the last moment stays open: under load that is all that is ever used.
        while not self._closed.is_set() and self._wanted != dict(+self._slots):
            self._peak = +self._slots
            await self._clock.sleep(LINGER_SECONDS)
            self._open_for(self._peak)
        self._lingering = None

    def _open_for(self, slots: Counter[str]) -> None:
        wanted = dict(+slots)
        if not self._closed.is_set() and wanted != self._wanted:
            self._wanted = wanted
            self._broker.want(wanted)

    # What becomes of hints.

    def _sort(self, arrivals: Sequence[Arrival], claimed: set[str]) -> None:
        rest = [arrival for arrival in arrivals if arrival.hint.job_id not in claimed]
        self._acknowledge_soon([arrival for arrival in arrivals if arrival.hint.job_id in claimed])
        if rest:
            task = asyncio.create_task(self._sort_unclaimed(rest), name="arrivals")
            self._sorting.add(task)
            task.add_done_callback(self._sorting.discard)

    async def _sort_unclaimed(self, arrivals: Sequence[Arrival]) -> None:
        waiting = [arrival for arrival in arrivals if await self._still_waits(arrival)]
        self._acknowledge_soon([arrival for arrival in arrivals if arrival not in waiting])
        if waiting:
            await woken(self._closed, self._clock, PAUSE_SECONDS)
            with suppress(GlowplugError):
                await self._broker.release(waiting)

    async def _still_waits(self, arrival: Arrival) -> bool:
        """Say whether the job could be claimed at this moment. One for later or past its time has no place in line."""
        try:
            job = await self._store.job(arrival.hint.job_id)
        except NotFound:
            return False
        except GlowplugError:
            return True
        expired = job.expires_at is not None and job.expires_at <= self._clock.now()
        return job.state is JobState.QUEUED and job.turn is not None and not expired

    def _acknowledge_soon(self, arrivals: Sequence[Arrival]) -> None:
        # Beside the answer to the worker: the claim is durable, so nothing depends on when the broker hears of it.
        self._spent.extend(arrivals)
        if self._spent and self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._acknowledge(), name="acknowledge")

    async def _acknowledge(self) -> None:
        try:
            while self._spent:
                spent = list(self._spent)
                self._spent.clear()
                # A hint that is not forgotten comes again, and finds its job taken.
                with suppress(GlowplugError):
                    await self._broker.acknowledge(spent)
        finally:
            self._acknowledging = None
