"""When a claim is asked for, replaced, and asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.runtime.desks import ScriptedLink

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.lifecycle import cancel
from glowplug.link import Claimed
from glowplug.runtime import intake
from glowplug.runtime.intake import Intake, IntakeCalls, Wants, must_replace
from glowplug.runtime.leases import Leases
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.station import Station
from glowplug.store import Hold, Want

ECHO, SING = ("echo.say", "echo.shout"), ("sing.song",)


def wants(*pairs: tuple[tuple[str, ...], int]) -> Wants:
    return tuple(Want(tasks, slots) for tasks, slots in pairs)


@pytest.mark.parametrize(
    ("asked", "wanted", "replace"),
    [
        (wants(), wants(), False),
        (wants((ECHO, 1)), wants((ECHO, 1)), False),
        (wants((ECHO, 1)), wants((ECHO, 5)), False),
        (wants((ECHO, 5)), wants((ECHO, 1)), True),
        (wants(), wants((ECHO, 1)), True),
        (wants((ECHO, 1)), wants(), True),
        (wants((ECHO, 1)), wants((ECHO, 1), (SING, 1)), True),
        (wants((ECHO, 1), (SING, 1)), wants((ECHO, 1)), True),
    ],
)
def test_a_waiting_claim_is_replaced_only_when_it_would_miss_work_or_bring_too_much(
    asked: Wants, wanted: Wants, replace: bool
) -> None:
    assert must_replace(asked, wanted) is replace


class Door:
    """An intake on a clock that is wound by hand; its claims hang until they are answered."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.link = ScriptedLink()
        self.link.hang.add("claim")
        self.wants: Wants = wants((ECHO, 2))
        self.claimed: list[tuple[Claimed, float]] = []
        identity = WorkerIdentity(instance_id="w1", incarnation="i1")
        station = Station(self.link, identity, self.clock, WorkerPolicy())
        self.leases = Leases(station)
        self.models = 1
        calls = IntakeCalls(
            lambda: self.wants,
            lambda asked: len(asked) >= self.models,
            lambda claimed, sent_at: self.claimed.append((claimed, sent_at)),
        )
        self.intake = Intake(station, self.leases, calls)

    @property
    def asked(self) -> list[Wants]:
        return [message.wants for message in self.link.of("claim")]

    async def change(self, *pairs: tuple[tuple[str, ...], int]) -> None:
        self.wants = wants(*pairs)
        self.intake.ring()
        await self.clock.advance(0)


@asynccontextmanager
async def door(*, opened: bool = True) -> AsyncIterator[Door]:
    made = Door()
    if opened:
        made.intake.open()
    running = asyncio.create_task(made.intake.run())
    try:
        async with asyncio.timeout(20):
            await made.clock.advance(0)
            yield made
        assert not running.done()
    finally:
        await cancel(running)


async def test_nothing_is_claimed_before_the_gateway_knows_the_worker() -> None:
    async with door(opened=False) as it:
        await it.clock.advance(100)
        assert it.asked == []
        it.intake.open()
        await it.clock.advance(0)
        assert it.asked == [wants((ECHO, 2))]


async def test_one_claim_waits_however_often_the_bell_is_rung() -> None:
    async with door() as it:
        for slots in (2, 3, 4, 10):
            await it.change((ECHO, slots))
        assert it.asked == [wants((ECHO, 2))]


async def test_a_claim_that_would_bring_too_much_is_replaced() -> None:
    async with door() as it:
        await it.change((ECHO, 1))
        assert it.asked == [wants((ECHO, 2)), wants((ECHO, 1))]


async def test_a_slot_that_was_taken_for_a_moment_is_asked_for_again_when_it_is_free() -> None:
    async with door(opened=False) as it:
        it.wants = ()
        it.intake.open()
        await it.clock.advance(1)
        assert it.asked == [wants()]
        it.wants = wants((ECHO, 2))
        await it.clock.advance(1)
        assert it.asked == [wants()]
        it.intake.freed()
        await it.clock.advance(0)
        assert it.asked == [wants(), wants((ECHO, 2))]


async def test_slots_freed_while_everything_is_asked_for_wake_nobody() -> None:
    async with door() as it:
        it.wants = wants((ECHO, 1))
        it.intake.freed()
        await it.clock.advance(0)
        assert it.asked == [wants((ECHO, 2))]


async def test_at_most_two_claims_are_under_way_and_the_last_wish_wins() -> None:
    async with door() as it:
        await it.change((ECHO, 1))
        await it.change()
        await it.change((SING, 3))
        assert len(it.asked) == 2
        it.link.release("claim")
        it.link.hang.add("claim")
        await it.clock.advance(0)
        assert it.asked[2:] == [wants((SING, 3))]


async def test_a_claim_is_asked_again_as_soon_as_it_was_answered() -> None:
    async with door() as it:
        it.link.release("claim")
        it.link.hang.add("claim")
        await it.clock.advance(0)
        assert len(it.asked) == 2
        assert [claimed for claimed, _ in it.claimed] == [Claimed()]


async def test_what_came_is_told_with_the_moment_at_which_its_claim_was_sent() -> None:
    async with door() as it:
        await it.clock.advance(9)
        it.link.release("claim")
        await it.clock.advance(0)
        assert it.claimed[0] == (Claimed(), 0.0)
        it.link.hang.add("claim")


async def test_busy_slots_are_waited_for_a_moment_before_a_claim_for_orders_alone_is_parked() -> None:
    async with door() as it:
        it.wants = ()
        it.link.release("claim")
        it.link.hang.add("claim")
        await it.clock.advance(0.03)
        assert len(it.asked) == 1
        await it.change((ECHO, 1))
        assert it.asked[1:] == [wants((ECHO, 1))]
        it.wants = ()
        it.link.release("claim")
        it.link.hang.add("claim")
        await it.clock.advance(0.06)
        assert it.asked[2:] == [wants()]


async def test_a_claim_waits_no_longer_than_a_quarter_of_the_lease() -> None:
    async with door() as it:
        it.leases.last(8.0)
        it.link.release("claim")
        it.link.hang.add("claim")
        await it.clock.advance(0)
        assert [message.wait_seconds for message in it.link.of("claim")] == [15.0, 2.0]


async def test_after_a_claim_that_failed_the_next_one_waits_and_says_what_has_arrived() -> None:
    async with door() as it:
        it.leases.add(Hold("a", 1), 0.0)
        it.link.fail("claim", Unreachable("away"), times=3)
        it.link.release("claim")
        await it.clock.advance(30)
        it.link.hang.add("claim")
        asked = it.link.of("claim")[:5]
        assert [message.known for message in asked] == [None, *[(Hold("a", 1),)] * 3, None]
        assert [message.wait_seconds for message in asked] == [15.0, 0.0, 0.0, 0.0, 15.0]


async def test_repeated_failures_are_not_a_storm() -> None:
    async with door() as it:
        it.link.fail("claim", Unreachable("away"), times=100_000)
        it.link.release("claim")
        await it.clock.advance(60)
        assert 20 < len(it.asked) < 400


async def test_a_gateway_that_does_not_know_the_worker_any_more_is_not_asked_until_it_does() -> None:
    async with door() as it:
        it.intake.shut()
        it.link.release("claim")
        await it.clock.advance(10)
        assert len(it.asked) == 1
        it.link.hang.add("claim")
        it.intake.open()
        await it.clock.advance(0)
        assert len(it.asked) == 2


async def test_it_is_empty_when_the_last_claim_that_may_bring_a_job_is_answered() -> None:
    async with door() as it:
        it.wants = ()
        emptied = asyncio.create_task(it.intake.emptied())
        await it.clock.advance(0)
        assert not emptied.done()
        assert it.asked[-1] == ()
        it.link.release("claim")
        it.link.hang.add("claim")
        await emptied


async def test_it_is_not_empty_before_a_lost_answer_was_made_up_for() -> None:
    async with door() as it:
        it.wants = ()
        it.link.fail("claim", Unreachable("away"), times=2)
        emptied = asyncio.create_task(it.intake.emptied())
        await it.clock.advance(0)
        it.link.release("claim")
        await it.clock.advance(0)
        assert not emptied.done()
        await it.clock.advance(5)
        await emptied
        assert () in [message.known for message in it.link.of("claim")]
        it.link.hang.add("claim")


async def test_a_gateway_that_is_gone_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LOST_ANSWER_SECONDS", 0.05)
    async with door() as it:
        it.wants = ()
        it.link.fail("claim", Unreachable("away"), times=1_000)
        it.link.release("claim")
        await it.clock.advance(0)
        await it.intake.emptied()
        it.link.hang.add("claim")
