"""Asking for work: one long poll at a time, replaced when what the worker can take has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from glowplug.errors import GlowplugError
from glowplug.lifecycle import cancel
from glowplug.link import Claim, Claimed
from glowplug.runtime.bell import Bell
from glowplug.runtime.leases import Leases
from glowplug.runtime.policy import claim_wait_seconds
from glowplug.runtime.station import Station
from glowplug.store import Hold, Want

Wants = tuple[Want, ...]

LOST_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class IntakeCalls:
    """What the intake asks and tells.

    `wants` is what can be taken now, `covers` whether a claim asks for every model that is ready, and `claimed` hears
    what a claim sent at a monotonic moment brought.
    """

    wants: Callable[[], Wants]
    covers: Callable[[Wants], bool]
    claimed: Callable[[Claimed, float], None]


def must_replace(asked: Wants, wanted: Wants) -> bool:
    """Say whether a claim that waits with `asked` would miss work, or bring work that nobody can take.

    More slots of a task that is asked for are no reason: the claim ends with the first job, and the next asks for all.
    """
    slots = {want.tasks: want.slots for want in asked}
    shrunk = {want.tasks: want.slots for want in wanted}
    return any(tasks not in slots for tasks in shrunk) or any(
        shrunk.get(tasks, 0) < count for tasks, count in slots.items()
    )


@dataclass(slots=True)
class _Asked:
    wants: Wants
    task: asyncio.Task[None]


class Intake:
    """Keeps a claim waiting at the gateway, also when there is nothing to take: orders come back with it.

    A replaced claim is not canceled: the gateway answers it, and it may bring jobs.
    """

    def __init__(self, station: Station, leases: Leases, calls: IntakeCalls) -> None:
        self._station = station
        self._leases = leases
        self._calls = calls
        self._bell = Bell(station.clock)
        self._out: list[_Asked] = []
        self._failures = 0
        self._not_before = 0.0
        self._answer_lost = False
        self._answered = asyncio.Event()
        self._parking = False
        self._open = False

    def open(self) -> None:
        """Begin to claim, or go on: the gateway knows this worker."""
        self._open = True
        self._bell.ring()

    def shut(self) -> None:
        """Claim no more until `open`: the gateway does not know this worker, and would answer at once with nothing."""
        self._open = False

    def ring(self) -> None:
        """Say that what can be taken may have changed."""
        self._bell.ring()

    def freed(self) -> None:
        """Say that a slot was freed of whose taking nobody may have said a word; cheap enough for every call."""
        # A claim that asks for all is none that was sent while the slot was taken.
        if self._out and not self._calls.covers(self._out[-1].wants):
            self._bell.ring()

    async def emptied(self) -> None:
        """Wait until no job can be on its way here; what can be taken must be nothing by now.

        A claim whose answer was lost may have brought one. The next claim says so; that is waited for, but not long:
        the gateway may be gone.
        """
        self._bell.ring()
        try:
            async with asyncio.timeout(LOST_ANSWER_SECONDS):
                while self._answer_lost or any(asked.wants and not asked.task.done() for asked in self._out):
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Claim, until canceled."""
        try:
            while True:
                await self._step()
        finally:
            for asked in self._out:
                await cancel(asked.task)

    async def _step(self) -> None:
        self._collect()
        pause = self._not_before - self._station.clock.monotonic()
        if not self._open or pause > 0:
            await self._bell.wait(pause if self._open else None)
            return
        wants = self._calls.wants()
        if not self._out and not wants and not self._parking:
            # All slots are busy: jobs are about to end, and then a claim for their slots is worth more.
            self._parking = not await self._bell.wait(self._station.policy.parking_seconds)
            return
        self._parking = False
        if not self._out or (len(self._out) == 1 and self._is_outdated(self._out[0], wants)):
            self._ask(wants)
        await self._bell.wait()

    def _is_outdated(self, asked: _Asked, wants: Wants) -> bool:
        return must_replace(asked.wants, wants) or (self._answer_lost and not asked.wants)

    def _collect(self) -> None:
        for asked in [asked for asked in self._out if asked.task.done()]:
            self._out.remove(asked)
            asked.task.result()

    def _ask(self, wants: Wants) -> None:
        # Only when no answer that may bring a job is on its way: what is not here then has been lost.
        alone = not any(asked.wants for asked in self._out)
        known = self._leases.holds if self._answer_lost and alone else None
        task = asyncio.create_task(self._claim(wants, known), name="claim")
        self._out.append(_Asked(wants, task))
        task.add_done_callback(self._hear)

    def _hear(self, task: asyncio.Task[None]) -> None:
        del task
        self._answered.set()
        self._bell.ring()

    async def _claim(self, wants: Wants, known: tuple[Hold, ...] | None) -> None:
        clock, who = self._station.clock, self._station.identity
        sent_at = clock.monotonic()
        wait_seconds = claim_wait_seconds(self._station.policy, self._leases.lease_seconds) if known is None else 0.0
        try:
            claimed = await self._station.link.claim(
                Claim(who.instance_id, who.incarnation, wants, wait_seconds, known)
            )
        except GlowplugError:
            self._answer_lost = True
            self._failures += 1
            self._not_before = clock.monotonic() + self._station.backoff.delay_seconds(self._failures)
            return
        self._failures = 0
        if known is not None:
            self._answer_lost = False
        self._calls.claimed(claimed, sent_at)
