"""The ends of attempts: in batches, in order, until they are accepted or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.runtime.desks import ScriptedLink
from tests.unit.runtime.rig import QUICK

from glowplug.clock import SystemClock
from glowplug.errors import (
    BugError,
    Conflict,
    DeadlineExceeded,
    DiskFull,
    GlowplugError,
    InvalidInput,
    RemoteError,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from glowplug.job import Outcome, OutcomeKind
from glowplug.lifecycle import cancel
from glowplug.link import Accepted, Finish
from glowplug.runtime.outbox import Outbox
from glowplug.runtime.policy import WorkerIdentity
from glowplug.runtime.station import Station
from glowplug.store import Hold, Settlement


class Post:
    """An outbox that delivers to a scripted link."""

    def __init__(self) -> None:
        self.link = ScriptedLink()
        identity = WorkerIdentity(instance_id="w1", incarnation="i1")
        self.outbox = Outbox(Station(self.link, identity, SystemClock(), QUICK))

    def settle(self, name: str, result: object = None) -> asyncio.Task[bool]:
        outcome = Outcome(OutcomeKind.COMPLETED, result=result)
        return asyncio.create_task(self.outbox.settle(Settlement(Hold(name, 1), outcome)))

    @property
    def batches(self) -> list[list[str]]:
        return [[one.hold.job_id for one in message.settlements] for message in self.link.of("finish")]


@asynccontextmanager
async def posting() -> AsyncIterator[Post]:
    made = Post()
    running = asyncio.create_task(made.outbox.run())
    try:
        async with asyncio.timeout(20):
            yield made
        assert not running.done()
    finally:
        await cancel(running)


async def test_an_end_is_delivered_and_its_answer_comes_back() -> None:
    async with posting() as it:
        it.link.answers["finish"] = Accepted((True,))
        assert await it.settle("a")
        it.link.answers["finish"] = Accepted((False,))
        assert not await it.settle("b")


async def test_ends_gather_while_a_call_is_under_way() -> None:
    async with posting() as it:
        it.link.hang.add("finish")
        first = it.settle("a")
        await it.link.until("finish")
        rest = [it.settle(name) for name in "bcdef"]
        await asyncio.sleep(0)
        it.link.release("finish")
        assert all(await asyncio.gather(first, *rest))
        assert it.batches == [["a"], ["b", "c", "d", "e", "f"]]


async def test_a_batch_has_a_limit() -> None:
    async with posting() as it:
        ends = [it.settle(str(number)) for number in range(QUICK.settlements_per_call + 1)]
        assert all(await asyncio.gather(*ends))
        assert [len(batch) for batch in it.batches] == [QUICK.settlements_per_call, 1]


@pytest.mark.parametrize("error", [Unreachable("away"), DeadlineExceeded("slow"), Unauthorized("another token")])
async def test_ends_are_sent_again_in_order_until_they_are_answered(error: GlowplugError) -> None:
    async with posting() as it:
        it.link.fail("finish", error, times=3)
        assert all(await asyncio.gather(*[it.settle(name) for name in "abc"]))
        assert it.batches == [["a", "b", "c"]] * 4


async def test_what_comes_during_an_outage_goes_with_the_next_try() -> None:
    async with posting() as it:
        it.link.fail("finish", Unreachable("away"), times=2)
        first = it.settle("a")
        await it.link.until("finish", 1)
        second = it.settle("b")
        assert await first
        assert await second
        assert it.batches[0] == ["a"]
        assert it.batches[-1] == ["a", "b"]


async def test_one_end_that_the_gateway_cannot_take_holds_back_no_other_and_fails_its_job() -> None:
    async with posting() as it:

        def picky() -> None:
            message: Finish = it.link.asked[-1][1]
            if any(one.outcome.result == "huge" for one in message.settlements):
                raise TooLarge("more than the limit", limit_bytes=10)

        it.link.before["finish"] = picky
        ends = [it.settle("a", 1), it.settle("b", "huge"), it.settle("c", 3)]
        assert all(await asyncio.gather(*ends))
        outcomes = {one.hold.job_id: one.outcome for message in it.link.of("finish")[1:] for one in message.settlements}
        assert [outcomes[name].kind.value for name in "abc"] == ["completed", "failed", "completed"]
        assert outcomes["b"].failure is not None
        assert not outcomes["b"].failure.retryable
        assert "more than the limit" in outcomes["b"].failure.message


async def test_an_end_that_is_refused_altogether_is_given_up() -> None:
    async with posting() as it:
        it.link.fail("finish", Conflict("never"), times=2)
        assert not await it.settle("a")
        assert await it.settle("b")


@pytest.mark.parametrize("error", [BugError("oops"), DiskFull("no room"), RemoteError("what?")])
async def test_a_gateway_that_stumbles_loses_no_result(error: GlowplugError) -> None:
    async with posting() as it:
        it.link.fail("finish", error, times=7)
        assert await it.settle("a", 42)
        (last,) = it.link.of("finish")[-1].settlements
        assert (last.outcome.kind, last.outcome.result) == (OutcomeKind.COMPLETED, 42)


async def test_an_end_that_the_gateway_always_stumbles_over_holds_back_no_other() -> None:
    async with posting() as it:

        def broken() -> None:
            if any(one.hold.job_id == "a" for one in it.link.asked[-1][1].settlements):
                raise BugError("oops")

        it.link.before["finish"] = broken
        stuck = it.settle("a")
        assert all(await asyncio.gather(it.settle("b"), it.settle("c")))
        assert not stuck.done()
        it.link.before.clear()
        assert await stuck


async def test_an_outage_in_the_middle_of_sending_one_by_one_repeats_only_what_is_unanswered() -> None:
    async with posting() as it:
        it.link.fail("finish", InvalidInput("one of you is wrong"))
        faults = it.link._faults["finish"]
        ends = [it.settle(name) for name in "ab"]
        await asyncio.sleep(0)
        it.link.before["finish"] = lambda: len(it.link.of("finish")) == 2 and faults.append(Unreachable("away"))
        assert all(await asyncio.gather(*ends))
        assert it.batches == [["a", "b"], ["a"], ["b"], ["b"]]


async def test_an_outbox_that_ends_leaves_nobody_waiting_for_ever() -> None:
    made = Post()
    made.link.hang.add("finish")
    running = asyncio.create_task(made.outbox.run())
    end = made.settle("a")
    await made.link.until("finish")
    await cancel(running)
    assert not end.done()
    await cancel(end)
    assert end.cancelled()
