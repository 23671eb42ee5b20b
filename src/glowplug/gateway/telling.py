"""Telling: what the store says is due goes out through a door, in order for each job, and for as long as it takes.

What was told is written down after it was taken: a gateway that dies in between tells it again, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from glowplug.clock import Clock
from glowplug.door import Door, Told
from glowplug.errors import NotFound
from glowplug.events import emit
from glowplug.gateway.lanes import Lanes
from glowplug.gateway.waits import first_of, woken
from glowplug.job import Follower, Job, JobEvent
from glowplug.lifecycle import Startable, cancel
from glowplug.store import Delivery, Store, Try

READ_EVENTS = 100
# A door is offered so many at once: what it took before its time was up need not be told again.
OFFERED_EVENTS = 20
TRIES_KEPT = 20
LONGEST_ERROR = 300
# Looks take at most one part in so many of the time.
LOOKS_SHARE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TellingPace:
    """How much a door is told at once, and when it is tried again.

    `lanes` tells run at the same time, `lanes_of_one` of them to the same target, for which `held_of_one` more may
    wait here, `held` in all. Who would have to wait longer than `postponed_seconds` for a slow target is sent back into
    the store for as long, so as not to stand in the way there. The n-th pause after a failure is between nothing and
    `min(cap, base · 2^(n-1))`, the cap being the door's. `look_seconds` is how long it takes to see what nobody
    announced, `breath_seconds` the least time between two looks.
    """

    lanes: int = 64
    lanes_of_one: int = 8
    held_of_one: int = 250
    held: int = 1000
    postponed_seconds: float = 30.0
    base_seconds: float = 1.0
    tell_seconds: float = 60.0
    look_seconds: float = 5.0
    breath_seconds: float = 0.02
    leave_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """When to try again and when to stop: the door's part of it."""

    base_seconds: float
    cap_seconds: float
    patience_seconds: float

    def pause_seconds(self, failures: int, jitter: float) -> float:
        """Return the full-jitter pause after the `failures`-th failure in a row, `jitter` being uniform in 0..1."""
        return jitter * min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))


def outcome(before: Delivery, told: Told, tried: Try, jitter: float, patience: Patience) -> Delivery:
    """Return how far the door is after a try. `tried.seq` is the last event that it was offered.

    What it has taken counts: a failure behind it is the first of a new row.
    """
    tries = (*before.tries, replace(tried, seq=told.seq, error=told.error[:LONGEST_ERROR], status=told.status))
    moved = told.seq > before.seq
    made = replace(before, seq=max(before.seq, told.seq), tries=tries[-TRIES_KEPT:])
    if not told.error:
        rest = tried.at if told.seq < tried.seq else None
        return replace(made, due_at=rest, failures=0, failing_since=None, given_up=False)
    since = tried.at if moved or before.failing_since is None else before.failing_since
    failures = 1 if moved else before.failures + 1
    made = replace(made, failures=failures, failing_since=since)
    # Asked here and not of the next try: whoever looks at the log must not be promised one that will not be made.
    if told.gone or (tried.at - since).total_seconds() >= patience.patience_seconds:
        return replace(made, due_at=None, given_up=True)
    asked = min(told.retry_after_seconds, patience.patience_seconds / 4)
    pause = max(asked, patience.pause_seconds(failures, jitter))
    return replace(made, due_at=tried.at + timedelta(seconds=pause))


def judged(told: Told, offered: Sequence[JobEvent], read: int) -> Told:
    """Return what a door said as it is to be understood; the log was `read` up to there.

    Who took all that was offered is as far as the log, whose other events are not for it.
    """
    if told.gone and not told.error:
        return replace(told, error="nothing more is wanted there")
    if told.error:
        return replace(told, seq=min(told.seq, offered[-1].seq))
    if told.seq < offered[0].seq:
        return replace(told, error="nothing was taken, and no error was named")
    return replace(told, seq=read) if told.seq >= offered[-1].seq else told


def follower_at(job: Job, door: str) -> Follower | None:
    """Return the job's follower at a door, None if it has none there."""
    return next((follower for follower in job.followers if follower.door == door), None)


class Teller(Startable):
    """Tells one door, as long as `leads()`; start it once the door and the store are started."""

    def __init__(
        self,
        door: Door,
        store: Store,
        clock: Clock,
        *,
        leads: Callable[[], bool] = lambda: True,
        pace: TellingPace | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._door = door
        self._store = store
        self._clock = clock
        self._leads = leads
        self._pace = pace or TellingPace()
        self._jitter = jitter
        self._patience = Patience(self._pace.base_seconds, door.longest_pause_seconds, door.patience_seconds)
        self._lanes = Lanes(self._pace.lanes, self._pace.lanes_of_one, clock)
        self._bell = asyncio.Event()
        self._rested_at = 0.0
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._over: set[str] = set()
        self._failing: set[str] = set()
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Say that something may be due now."""
        self._bell.set()

    async def _start(self) -> None:
        self._bell = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name=f"tell {self._door.name}")

    async def _stop(self) -> None:
        await cancel(self._task)
        self._task = None
        # What is on its way may still be taken, and then need not be told again.
        if self._busy:
            await asyncio.wait(list(self._busy.values()), timeout=self._pace.leave_seconds)
        for task in list(self._busy.values()):
            await cancel(task)

    async def _keep(self) -> None:
        while True:
            self._bell.clear()
            try:
                pause = await self._look()
                self._failed = False
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go well
                pause = self._pace.look_seconds
                self._report(error)
            await woken(self._bell, self._clock, pause)
            await self._breathe()

    async def _look(self) -> float:
        """Begin to tell what is due and nobody tells yet; return the seconds until the next look."""
        if not self._leads() or len(self._busy) >= self._pace.held:
            return self._pace.look_seconds
        began = asyncio.get_running_loop().time()
        # Those that are being told are still due, and stand in front.
        window = len(self._busy) + self._pace.lanes
        self._over.clear()
        for delivery in await self._store.undelivered(self._door.name, limit=window):
            # What was told while the store was asked may have been read as it stood before.
            if delivery.job_id not in self._busy and delivery.job_id not in self._over:
                task = asyncio.create_task(self._deliver(delivery), name=f"tell {self._door.name} {delivery.job_id}")
                self._busy[delivery.job_id] = task
        took = asyncio.get_running_loop().time() - began
        self._rested_at = began + max(self._pace.breath_seconds, took * LOOKS_SHARE)
        if self._busy:
            # The ends of tells wake; this is for what becomes due meanwhile.
            return min(1.0, self._pace.look_seconds)
        due = await self._store.next_delivery_seconds(self._door.name)
        return self._pace.look_seconds if due is None else min(due, self._pace.look_seconds)

    async def _breathe(self) -> None:
        # On the loop's own time: this spares the store under load, and means nothing else.
        rest = self._rested_at - asyncio.get_running_loop().time()
        if rest > 0:
            await asyncio.sleep(rest)

    async def _deliver(self, delivery: Delivery) -> None:
        told = False
        try:
            told = await self._told(delivery)
        except Exception as error:  # noqa: BLE001 - the store's trouble, mostly: the row is still due
            self._report(error)
            await self._clock.sleep(self._pace.base_seconds)
            told = True
        finally:
            del self._busy[delivery.job_id]
            self._over.add(delivery.job_id)
            if told and len(self._busy) < self._pace.lanes:
                self._bell.set()

    async def _told(self, delivery: Delivery) -> bool:
        """Say whether it was this one's turn."""
        try:
            job = await self._store.job(delivery.job_id)
        except NotFound:
            return False
        target = self._door.target(job)
        if await self._sent_back(delivery, target):
            return False
        async with self._lanes.one(target):
            # The wait may have been long.
            if not self._leads():
                return False
            await self._tell(delivery, job, target)
        return True

    async def _sent_back(self, delivery: Delivery, target: str) -> bool:
        """Say whether too many wait for the target already; the row is left alone, or put off for a slow one."""
        if not target or self._lanes.waiting(target) < self._pace.held_of_one:
            return False
        if self._lanes.expected_seconds(target) > self._pace.postponed_seconds:
            pause = self._pace.postponed_seconds * (1 + self._jitter())
            later = self._clock.now() + timedelta(seconds=pause)
            await self._store.save_deliveries([replace(delivery, due_at=later)])
        return True

    async def _tell(self, delivery: Delivery, job: Job, target: str) -> None:
        follower = follower_at(job, delivery.door)
        events = await self._store.events(job.id, after=delivery.seq, limit=READ_EVENTS)
        if follower is None or not events:
            await self._store.save_deliveries([replace(delivery, due_at=None)])
            return
        offered = [event for event in events if follower.wants(event.type)]
        began, at = self._clock.monotonic(), self._clock.now()
        if not offered:
            more = at if len(events) == READ_EVENTS else None
            await self._store.save_deliveries([replace(delivery, seq=events[-1].seq, due_at=more)])
            return
        told = judged(await self._offer(job, offered), offered, events[-1].seq)
        seconds = self._clock.monotonic() - began
        after = outcome(
            delivery, told, Try(at, events[-1].seq, seconds=round(seconds, 3)), self._jitter(), self._patience
        )
        if len(events) == READ_EVENTS and not told.error:
            after = replace(after, due_at=at)
        await self._store.save_deliveries([after])
        self._say(after, told, target, seconds)

    async def _offer(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Tell the door piece by piece, each within a bound of time; what earlier pieces brought stays."""
        told, began = Told(0), self._clock.monotonic()
        for start in range(0, len(events), OFFERED_EVENTS):
            piece = events[start : start + OFFERED_EVENTS]
            told = replace(now := await self._offer_piece(job, piece), seq=max(told.seq, now.seq))
            late = self._clock.monotonic() - began >= self._pace.tell_seconds
            if now.error or now.gone or late or now.seq < piece[-1].seq:
                break
        return told

    async def _offer_piece(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Tell the door; whatever it raises is a failure."""
        tell = asyncio.ensure_future(self._door.tell(job, events))
        try:
            await first_of(_ended(tell), self._clock.sleep(self._pace.tell_seconds))
            if not tell.done():
                return Told(0, f"the door {self._door.name} did not come back within {self._pace.tell_seconds:g} s")
            return tell.result()
        except Exception as error:  # noqa: BLE001 - a door may be anybody's code
            return Told(0, f"{type(error).__name__}: {error}")
        finally:
            await cancel(tell)

    def _say(self, after: Delivery, told: Told, target: str, seconds: float) -> None:
        door, job = after.door, after.job_id
        result = "given_up" if after.given_up else "failed" if told.error else "taken"
        emit("delivery.tried", door=door, job=job, seq=after.seq, outcome=result, seconds=seconds)
        if after.given_up:
            emit("delivery.given_up", door=door, job=job, seq=after.seq, error=told.error)
        if told.error and target not in self._failing:
            self._failing.add(target)
            emit("delivery.failed", door=door, target=target, job=job, error=told.error)
        elif not told.error and target in self._failing:
            self._failing.discard(target)
            emit("delivery.restored", door=door, target=target)
        if after.given_up:
            # Nobody may ever ask there again: what is kept for it must not stay for ever.
            self._failing.discard(target)

    def _report(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            emit("duty.failed", duty=f"tell:{self._door.name}", error=f"{type(error).__name__}: {error}")


def again(delivery: Delivery, now: datetime, seq: int | None = None) -> Delivery:
    """Return a delivery that is due now and starts over, from `seq` if one is given."""
    seq = delivery.seq if seq is None else seq
    return replace(delivery, seq=seq, due_at=now, failures=0, failing_since=None, given_up=False)


async def _ended(task: asyncio.Future[Told]) -> None:
    with suppress(Exception):
        await asyncio.wait((task,))
