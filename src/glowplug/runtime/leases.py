"""The leases that the worker holds: renewed together, given up in time when nobody confirms them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from glowplug.errors import GlowplugError
from glowplug.lifecycle import cancel
from glowplug.link import Order, Renew
from glowplug.runtime.bell import Bell
from glowplug.runtime.policy import fence_after_seconds, renew_after_seconds
from glowplug.runtime.station import Station
from glowplug.store import Hold, Renewal

SHORTEST_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class LeaseCalls:
    """Whom the leases tell: a hold that was refused, one nobody confirmed in time, a job to cancel, and orders."""

    lost: Callable[[Hold], None]
    fenced: Callable[[Hold], None]
    canceled: Callable[[Hold], None]
    orders: Callable[[tuple[Order, ...]], None]


@dataclass(slots=True)
class _Lease:
    confirmed_at: float
    ending: bool = False
    fenced: bool = False


class Leases:
    """Keeps every hold from its grant until its settlement was answered.

    A lease counts from the monotonic moment before the call that confirmed it was sent: the gateway's own count began
    later, so the worker always gives up first.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self._clock = station.clock
        self._bell = Bell(station.clock)
        self._leases: dict[Hold, _Lease] = {}
        self._calls: LeaseCalls | None = None
        self._renewed_at = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self._lease_seconds = station.policy.lease_seconds

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Return every hold, also those whose end is still on its way."""
        return tuple(self._leases)

    @property
    def lease_seconds(self) -> float:
        """Return how long leases last, as the gateway said."""
        return self._lease_seconds

    def last(self, lease_seconds: float) -> None:
        """Take the gateway's word for how long leases last."""
        if lease_seconds != self._lease_seconds:
            self._lease_seconds = lease_seconds
            self._bell.ring()

    def tell(self, calls: LeaseCalls) -> None:
        """Say whom to tell; before `run`."""
        self._calls = calls

    def add(self, hold: Hold, confirmed_at: float) -> None:
        """Keep a new hold, granted by a call that was sent at `confirmed_at`."""
        self._leases[hold] = _Lease(confirmed_at)

    def end(self, hold: Hold) -> None:
        """Go on renewing, but expect to be refused: the settlement may overtake the renewal."""
        if lease := self._leases.get(hold):
            lease.ending = True

    def forget(self, hold: Hold) -> None:
        """Keep it no longer."""
        self._leases.pop(hold, None)

    async def run(self) -> None:
        """Renew and fence, until canceled."""
        self._renewed_at = self._clock.monotonic()
        try:
            while True:
                await self._bell.wait(self._pause_seconds())
                self._act(self._clock.monotonic())
        finally:
            await cancel(self._renewal)

    def _act(self, now: float) -> None:
        self._fence(now)
        if self._renewal is not None and self._renewal.done():
            self._renewal.result()
            self._renewal = None
        if self._renewal is None and now - self._renewed_at >= renew_after_seconds(self._lease_seconds):
            self._renewed_at = now
            self._renewal = asyncio.create_task(self._renew(), name="renewal")

    def _pause_seconds(self) -> float:
        # A sixth of the lease at most: a hold that is added meanwhile cannot be near its fence yet.
        now = self._clock.monotonic()
        moments = [now + self._lease_seconds / 6]
        moments += [self._fence_at(lease) for lease in self._leases.values() if not lease.fenced]
        if self._renewal is None:
            moments.append(self._renewed_at + renew_after_seconds(self._lease_seconds))
        return max(SHORTEST_SECONDS, min(moments) - now)

    def _fence_at(self, lease: _Lease) -> float:
        return lease.confirmed_at + fence_after_seconds(self._lease_seconds)

    def _fence(self, now: float) -> None:
        for hold, lease in list(self._leases.items()):
            if not lease.fenced and self._fence_at(lease) <= now:
                lease.fenced = True
                self._told.fenced(hold)

    async def _renew(self) -> None:
        failures, who, backoff = 0, self._station.identity, self._station.backoff
        while self._leases:
            sent_at, holds = self._clock.monotonic(), self.holds
            try:
                renewed = await self._station.link.renew(Renew(who.instance_id, who.incarnation, holds))
            except GlowplugError:
                failures += 1
                await self._clock.sleep(backoff.delay_seconds(failures))
                continue
            for renewal in renewed.renewals:
                self._apply(renewal, sent_at)
            self._told.orders(renewed.orders)
            return

    def _apply(self, renewal: Renewal, sent_at: float) -> None:
        lease = self._leases.get(renewal.hold)
        if lease is None or lease.fenced:
            return
        if renewal.held:
            lease.confirmed_at = max(lease.confirmed_at, sent_at)
            if renewal.cancel:
                self._told.canceled(renewal.hold)
        elif not lease.ending:
            # An attempt whose end is on its way is refused when that end has overtaken this renewal.
            self._told.lost(renewal.hold)

    @property
    def _told(self) -> LeaseCalls:
        assert self._calls is not None, "tell() comes before run()"
        return self._calls
