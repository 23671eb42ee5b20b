"""Leases: renewed each third, given up in time, and never confused by what overtakes what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.unit.runtime.desks import ScriptedLink

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.lifecycle import cancel
from glowplug.link import Order, OrderKind, Renewed
from glowplug.runtime.leases import LeaseCalls, Leases
from glowplug.runtime.policy import (
    WorkerIdentity,
    WorkerPolicy,
    claim_wait_seconds,
    fence_after_seconds,
    renew_after_seconds,
)
from glowplug.runtime.station import Station
from glowplug.store import Hold, Renewal

A, B = Hold("a", 1), Hold("b", 2)


class Watch:
    """Leases on a clock that is wound by hand, with what they told and what they asked."""

    def __init__(self, lease_seconds: float) -> None:
        self.clock = ManualClock()
        self.link = ScriptedLink()
        identity = WorkerIdentity(instance_id="w1", incarnation="i1")
        self.leases = Leases(Station(self.link, identity, self.clock, WorkerPolicy(lease_seconds=lease_seconds)))
        self.told: list[tuple[str, Hold]] = []
        self.orders: list[Order] = []
        self.leases.tell(
            LeaseCalls(
                lost=lambda hold: self.told.append(("lost", hold)),
                fenced=lambda hold: self.told.append(("fenced", hold)),
                canceled=lambda hold: self.told.append(("canceled", hold)),
                orders=self.orders.extend,
            )
        )

    def add(self, *holds: Hold) -> None:
        for hold in holds:
            self.leases.add(hold, self.clock.monotonic())

    @property
    def renewed(self) -> list[tuple[Hold, ...]]:
        return [message.holds for message in self.link.of("renew")]

    def answer(self, *renewals: Renewal, orders: Sequence[Order] = ()) -> None:
        self.link.answers["renew"] = Renewed(renewals, tuple(orders))


@asynccontextmanager
async def watch(lease_seconds: float = 60.0) -> AsyncIterator[Watch]:
    made = Watch(lease_seconds)
    running = asyncio.create_task(made.leases.run())
    try:
        async with asyncio.timeout(20):
            yield made
        assert not running.done()
    finally:
        await cancel(running)


async def test_all_holds_are_renewed_together_each_third_of_the_lease() -> None:
    async with watch() as it:
        it.add(A, B)
        it.answer(Renewal(A, held=True, cancel=False), Renewal(B, held=True, cancel=False))
        await it.clock.advance(19.9)
        assert it.renewed == []
        await it.clock.advance(0.2)
        assert it.renewed == [(A, B)]
        await it.clock.advance(40)
        assert it.renewed == [(A, B)] * 3
        assert it.told == []


async def test_nothing_is_asked_while_nothing_is_held() -> None:
    async with watch() as it:
        await it.clock.advance(300)
        assert it.renewed == []


async def test_a_hold_that_is_refused_is_lost() -> None:
    async with watch() as it:
        it.add(A, B)
        it.answer(Renewal(A, held=False, cancel=False), Renewal(B, held=True, cancel=False))
        await it.clock.advance(20)
        assert it.told == [("lost", A)]


async def test_a_hold_whose_end_is_on_its_way_may_be_refused_without_being_lost() -> None:
    async with watch() as it:
        it.add(A)
        it.leases.end(A)
        it.answer(Renewal(A, held=False, cancel=False))
        await it.clock.advance(20)
        assert it.renewed == [(A,)]
        assert it.told == []


async def test_a_hold_that_was_forgotten_while_it_was_renewed_is_nobodys_any_more() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=False, cancel=False))
        it.link.before["renew"] = lambda: it.leases.forget(A)
        await it.clock.advance(20)
        assert it.told == []


async def test_a_cancel_and_orders_come_back_with_the_renewal() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=True, cancel=True), orders=[Order(OrderKind.DRAIN)])
        await it.clock.advance(20)
        assert (it.told, it.orders) == ([("canceled", A)], [Order(OrderKind.DRAIN)])


async def test_a_renewal_that_fails_is_tried_again_long_before_the_lease_is_over() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=True, cancel=False))
        it.link.fail("renew", Unreachable("away"), times=3)
        await it.clock.advance(20)
        await it.clock.advance(8)
        assert len(it.renewed) == 4
        await it.clock.advance(40)
        assert it.told == []


async def test_the_worker_gives_up_ten_seconds_before_an_unconfirmed_lease_is_over() -> None:
    async with watch() as it:
        it.add(A)
        it.link.fail("renew", Unreachable("away"), times=10_000)
        await it.clock.advance(49.9)
        assert it.told == []
        await it.clock.advance(0.2)
        assert it.told == [("fenced", A)]
        await it.clock.advance(60)
        assert it.told == [("fenced", A)]


async def test_a_renewal_that_hangs_does_not_hold_back_the_fence() -> None:
    async with watch() as it:
        it.add(A)
        it.link.hang.add("renew")
        await it.clock.advance(50.1)
        assert it.told == [("fenced", A)]
        assert len(it.renewed) == 1


async def test_a_short_lease_is_given_up_after_four_fifths() -> None:
    async with watch(5.0) as it:
        it.add(A)
        it.link.hang.add("renew")
        await it.clock.advance(3.9)
        assert it.told == []
        await it.clock.advance(0.2)
        assert it.told == [("fenced", A)]


async def test_a_lease_counts_from_when_its_confirmation_was_asked_for_not_from_when_it_came() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=True, cancel=False))
        it.link.hang.add("renew")
        await it.clock.advance(20)
        await it.clock.advance(25)
        it.link.before["renew"] = lambda: it.link.fail("renew", Unreachable("away"), times=10_000)
        it.link.release("renew")
        await it.clock.advance(24.8)
        assert it.told == []
        await it.clock.advance(0.3)
        assert it.told == [("fenced", A)]


async def test_an_answer_that_comes_after_the_fence_changes_nothing() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=True, cancel=True))
        it.link.hang.add("renew")
        await it.clock.advance(51)
        it.link.release("renew")
        await it.clock.advance(1)
        assert it.told == [("fenced", A)]


async def test_a_gateway_with_shorter_leases_is_believed_at_once() -> None:
    async with watch() as it:
        it.add(A)
        it.answer(Renewal(A, held=True, cancel=False))
        await it.clock.advance(1)
        it.leases.last(6.0)
        await it.clock.advance(1.1)
        assert it.renewed == [(A,)]
        assert it.leases.lease_seconds == 6.0


async def test_a_wall_clock_that_jumps_neither_renews_nor_gives_up_anything() -> None:
    async with watch() as it:
        it.add(A)
        it.clock.jump(it.clock.now().replace(year=2040))
        await it.clock.advance(1)
        it.clock.jump(it.clock.now().replace(year=2001))
        await it.clock.advance(1)
        assert (it.renewed, it.told) == ([], [])


async def test_a_hold_granted_by_a_claim_that_waited_long_is_renewed_in_time() -> None:
    async with watch() as it:
        await it.clock.advance(20)
        it.leases.add(A, it.clock.monotonic() - claim_wait_seconds(WorkerPolicy(), 60))
        it.answer(Renewal(A, held=True, cancel=False))
        await it.clock.advance(34)
        assert (it.renewed, it.told) == ([(A,)], [])


@pytest.mark.parametrize("lease_seconds", [0.5, 5.0, 30.0, 50.0, 60.0, 600.0])
def test_a_third_of_the_lease_and_the_fence_leave_room_for_another_try(lease_seconds: float) -> None:
    policy = WorkerPolicy(lease_seconds=lease_seconds)
    fence = fence_after_seconds(lease_seconds)
    assert renew_after_seconds(lease_seconds) * 2 < fence < lease_seconds
    assert claim_wait_seconds(policy, lease_seconds) + renew_after_seconds(lease_seconds) < fence
