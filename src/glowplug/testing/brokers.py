"""Conformance suite of `Broker`.

A test module makes a subclass of `BrokerSuite` whose fixture `broker` yields a started broker on the suite's fixture
`clock`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from glowplug.broker import Broker, Hint
from glowplug.clock import ManualClock

SECONDS = 60.0


def hint(task: str, job_id: str = "1") -> Hint:
    """Make a hint that work of `task` waits."""
    return Hint(job_id, task)


async def waiting(broker: Broker, *tasks: str, seconds: float = 20.0) -> asyncio.Task[bool]:
    """Return a wait that has begun, for hints from now on."""
    task = asyncio.create_task(broker.wait(tasks, since=broker.mark(), timeout_seconds=seconds))
    await asyncio.sleep(0)
    return task


class BrokerSuite:
    """What every broker does."""

    @pytest.fixture(autouse=True)
    async def bounded(self) -> AsyncIterator[None]:
        """Let no test wait for ever."""
        async with asyncio.timeout(SECONDS):
            yield

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock that time-outs go by."""
        return ManualClock()

    async def test_a_hint_wakes_who_waits_for_its_task(self, broker: Broker) -> None:
        wait = await waiting(broker, "m.a", "m.b")
        await broker.publish([hint("m.b")])
        assert await wait

    async def test_a_hint_between_mark_and_wait_is_not_lost(self, broker: Broker) -> None:
        mark = broker.mark()
        await broker.publish([hint("m.a")])
        assert await broker.wait(["m.a"], since=mark, timeout_seconds=20)

    async def test_a_hint_before_the_mark_wakes_nobody(self, broker: Broker, clock: ManualClock) -> None:
        await broker.publish([hint("m.a")])
        wait = await waiting(broker, "m.a", seconds=5)
        await clock.advance(5)
        assert not await wait

    async def test_the_mark_grows_with_each_hint(self, broker: Broker) -> None:
        marks = [broker.mark()]
        for hints in ([hint("m.a")], [hint("m.a"), hint("m.b")]):
            await broker.publish(hints)
            marks.append(broker.mark())
        assert marks == sorted(set(marks))

    async def test_no_hints_are_no_news(self, broker: Broker) -> None:
        mark = broker.mark()
        await broker.publish([])
        assert broker.mark() == mark

    async def test_another_task_s_hint_does_not_wake(self, broker: Broker, clock: ManualClock) -> None:
        wait = await waiting(broker, "m.a", seconds=5)
        await broker.publish([hint("m.b"), hint("m"), hint("m.a.c")])
        await clock.advance(4.9)
        assert not wait.done()
        await clock.advance(0.1)
        assert not await wait

    async def test_one_hint_wakes_all_who_wait(self, broker: Broker) -> None:
        waits = [await waiting(broker, "m.a") for _ in range(50)]
        await broker.publish([hint("m.a")])
        assert all(await asyncio.gather(*waits))

    async def test_waiting_for_no_task_ends_with_the_time(self, broker: Broker, clock: ManualClock) -> None:
        wait = await waiting(broker, seconds=3)
        await broker.publish([hint("m.a")])
        await clock.advance(3)
        assert not await wait

    async def test_a_wait_for_no_time_answers_what_is_known(self, broker: Broker) -> None:
        mark = broker.mark()
        assert not await broker.wait(["m.a"], since=mark, timeout_seconds=0)
        await broker.publish([hint("m.a")])
        assert await broker.wait(["m.a"], since=mark, timeout_seconds=0)

    async def test_a_wait_that_is_canceled_harms_no_other(self, broker: Broker) -> None:
        given_up, kept = await waiting(broker, "m.a"), await waiting(broker, "m.a")
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await broker.publish([hint("m.a")])
        assert await kept

    async def test_no_hint_is_missed_by_one_who_always_marks_first(self, broker: Broker) -> None:
        jobs: list[int] = []
        seen: list[int] = []

        async def consume() -> None:
            while len(seen) < 200:
                mark = broker.mark()
                seen.extend(jobs[len(seen) :])
                if len(seen) < 200:
                    assert await broker.wait(["m.a"], since=mark, timeout_seconds=1_000)

        async def produce() -> None:
            for number in range(200):
                jobs.append(number)
                await broker.publish([hint("m.a", str(number))])
                if number % 7 == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(consume(), produce())
        assert seen == list(range(200))

    async def test_a_stop_ends_every_wait(self, broker: Broker) -> None:
        waits = [await waiting(broker, task) for task in ("m.a", "m.b")]
        await broker.stop()
        assert await asyncio.gather(*waits) == [False, False]

    async def test_a_stopped_broker_starts_again(self, broker: Broker) -> None:
        await broker.stop()
        await broker.start()
        wait = await waiting(broker, "m.a")
        await broker.publish([hint("m.a")])
        assert await wait
