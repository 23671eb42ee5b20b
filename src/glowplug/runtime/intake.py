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


@dataclass(frozen=True, slots=True)
class IntakeCalls:
    """What the intake asks and tells: what can be taken now, and what a claim sent at a monotonic moment brought."""

    wants: Callable[[], Wants]
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

    async def emptied(self) -> None:
        """Wait until no claim is out that may bring a job; what can be taken must be nothing by now."""
        self._bell.ring()
        while open_claims := [asked.task for asked in self._out if asked.wants and not asked.task.done()]:
            await asyncio.wait(open_claims)

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
        if not self._out or (len(self._out) == 1 and must_replace(self._out[0].wants, wants)):
            self._ask(wants)
        await self._bell.wait()

    def _collect(self) -> None:
        for asked in [asked for asked in self._out if asked.task.done()]:
            self._out.remove(asked)
            asked.task.result()

    def _ask(self, wants: Wants) -> None:
        known = self._leases.holds if self._answer_lost and not self._out else None
        task = asyncio.create_task(self._claim(wants, known), name="claim")
        self._out.append(_Asked(wants, task))
        task.add_done_callback(lambda _: self._bell.ring())

    async def _claim(self, wants: Wants, known: tuple[Hold, ...] | None) -> None:
        clock, who = self._station.clock, self._station.identity
        sent_at = clock.monotonic()
        wait_seconds = claim_wait_seconds(self._station.policy, self._leases.lease_seconds)
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
