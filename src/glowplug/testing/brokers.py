"""Conformance suites of `Broker`: `BrokerSuite` for those that only wake, `CarrierSuite` for those that carry hints.

A test module makes a subclass of one of them whose fixture `broker` yields a started broker on the suite's fixture
`clock`. A `CarrierSuite` needs more: `another`, which makes brokers on the same queues, and `buried`, which reads the
dead letters of a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from glowplug.broker import Arrival, Broker, Hint
from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import Unreachable
from glowplug.job import Failure, Job, JobRequest, Outcome, OutcomeKind, claimed, settled, submitted

SECONDS = 60.0


def hint(task: str, job_id: str = "1") -> Hint:
    """Make a hint that work of `task` waits."""
    return Hint(job_id, task)


async def waiting(broker: Broker, *tasks: str, seconds: float = 20.0) -> asyncio.Task[bool]:
    """Return a wait that has begun, for hints from now on."""
    task = asyncio.create_task(broker.wait(tasks, since=broker.mark(), timeout_seconds=seconds))
    await asyncio.sleep(0)
    return task


async def passed(clock: Clock, seconds: float) -> None:
    """Let time pass on `clock`."""
    if isinstance(clock, ManualClock):
        await clock.advance(seconds)
    else:
        await clock.sleep(seconds)


class WaitSuite:
    """What the waits of every broker do, whatever wakes them."""

    @pytest.fixture(autouse=True)
    async def bounded(self) -> AsyncIterator[None]:
        """Let no test wait for ever."""
        async with asyncio.timeout(SECONDS):
            yield

    async def test_waiting_for_no_task_ends_with_the_time(self, broker: Broker, clock: Clock) -> None:
        wait = await waiting(broker, seconds=0.2)
        await broker.publish([hint("m.a")])
        await passed(clock, 0.2)
        assert not await wait

    async def test_a_wait_without_news_ends_with_the_time(self, broker: Broker, clock: Clock) -> None:
        wait = await waiting(broker, "m.a", seconds=0.2)
        await passed(clock, 0.2)
        assert not await wait

    async def test_no_hints_are_no_news(self, broker: Broker) -> None:
        mark = broker.mark()
        await broker.publish([])
        assert broker.mark() == mark

    async def test_a_stop_ends_every_wait(self, broker: Broker) -> None:
        waits = [await waiting(broker, task) for task in ("m.a", "m.b")]
        await broker.stop()
        assert await asyncio.gather(*waits) == [False, False]


class BrokerSuite(WaitSuite):
    """What every broker does that only wakes."""

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

    async def test_a_stopped_broker_starts_again(self, broker: Broker) -> None:
        await broker.stop()
        await broker.start()
        wait = await waiting(broker, "m.a")
        await broker.publish([hint("m.a")])
        assert await wait


class CarrierSuite(WaitSuite):
    """What every broker does that carries hints from gateway to gateway."""

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock that everything goes by; a real one, as there is a real server at the other end."""
        return SystemClock()

    @pytest.fixture
    def another(self) -> Callable[[], Broker]:
        """Return what makes a further broker, not started, on the same queues as `broker`."""
        raise TypeError("a subclass of CarrierSuite has a fixture `another`")

    @pytest.fixture
    def buried(self) -> Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]:
        """Return what reads the dead letters of a model, as they were parsed from JSON."""
        raise TypeError("a subclass of CarrierSuite has a fixture `buried`")

    async def test_it_says_that_it_carries(self, broker: Broker) -> None:
        assert broker.carries

    async def test_a_hint_arrives_as_it_was_sent(self, broker: Broker) -> None:
        sent = Hint("0001", "m.a", 7, "ada")
        await broker.publish([sent])
        broker.want({"m": 1})
        assert [arrival.hint for arrival in await arriving(broker, 1)] == [sent]

    async def test_a_hint_that_is_sent_later_arrives_too(self, broker: Broker) -> None:
        broker.want({"m": 1})
        wait = await waiting(broker, "m.a", seconds=SECONDS)
        await broker.publish([hint("m.a")])
        assert await wait
        assert [arrival.hint.job_id for arrival in broker.take({"m": 1})] == ["1"]

    async def test_an_arrival_between_mark_and_wait_is_not_lost(self, broker: Broker) -> None:
        mark = broker.mark()
        broker.want({"m": 1})
        await broker.publish([hint("m.a")])
        assert await broker.wait(["m.a"], since=mark, timeout_seconds=SECONDS)
        assert await broker.wait(["m.a"], since=mark, timeout_seconds=0)
        assert broker.mark() > mark

    async def test_what_was_taken_is_not_handed_out_again(self, broker: Broker) -> None:
        await broker.publish([hint("m.a")])
        broker.want({"m": 1})
        await arriving(broker, 1)
        assert broker.take({"m": 1}) == []

    async def test_no_more_is_taken_than_was_asked_for(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", "1"), hint("m.a", "2")])
        mark = broker.mark()
        broker.want({"m": 2})
        await until(lambda: broker.mark() >= mark + 2)
        assert [len(broker.take({"m": count})) for count in (0, 1, 5)] == [0, 1, 1]

    async def test_hints_of_a_model_that_nobody_wants_stay(self, broker: Broker) -> None:
        await broker.publish([hint("m.a"), hint("n.a")])
        broker.want({"n": 5})
        assert [arrival.hint.task for arrival in await arriving(broker, 1, model="n")] == ["n.a"]
        assert broker.take({"m": 5}) == []
        await wait_for_waiting(broker, "m", 1)

    async def test_no_more_arrives_than_is_wanted(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", str(number)) for number in range(5)])
        broker.want({"m": 2})
        assert len(await arriving(broker, 2)) == 2
        await wait_for_waiting(broker, "m", 3)
        assert broker.take({"m": 5}) == []

    async def test_what_is_held_beyond_what_is_wanted_goes_back(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", "1"), hint("m.a", "2")])
        mark = broker.mark()
        broker.want({"m": 2})
        await until(lambda: broker.mark() >= mark + 2)
        broker.want({"m": 1})
        await wait_for_waiting(broker, "m", 1)
        broker.want({})
        await wait_for_waiting(broker, "m", 2)
        assert broker.take({"m": 2}) == []

    async def test_what_is_released_comes_again(self, broker: Broker) -> None:
        await broker.publish([hint("m.a")])
        broker.want({"m": 1})
        first = await arriving(broker, 1)
        await broker.release(first)
        broker.want({"m": 1})
        again = await arriving(broker, 1)
        assert again[0].hint == first[0].hint

    async def test_what_is_released_may_go_to_another(self, broker: Broker, another: Callable[[], Broker]) -> None:
        await broker.publish([hint("m.a")])
        broker.want({"m": 1})
        first = await arriving(broker, 1)
        async with another() as other:
            other.want({"m": 1})
            await broker.release(first)
            broker.want({})
            assert (await arriving(other, 1))[0].hint == first[0].hint

    async def test_what_is_acknowledged_is_gone(self, broker: Broker, another: Callable[[], Broker]) -> None:
        await broker.publish([hint("m.a", "1")])
        broker.want({"m": 1})
        await broker.acknowledge(await arriving(broker, 1))
        broker.want({})
        await broker.stop()
        async with another() as other:
            await other.publish([hint("m.a", "2")])
            other.want({"m": 2})
            assert [arrival.hint.job_id for arrival in await arriving(other, 1)] == ["2"]
            await wait_for_waiting(other, "m", 0)

    async def test_after_an_acknowledgement_the_next_one_comes(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", str(number)) for number in range(20)])
        assert sorted(await worked_off(broker, 20, slots=1), key=int) == [str(number) for number in range(20)]

    async def test_an_acknowledgement_makes_room_while_as_much_is_still_wanted(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", str(number)) for number in range(6)])
        broker.want({"m": 2})
        done: set[str] = set()
        for _ in range(3):
            taken = await arriving(broker, 2)
            await broker.acknowledge(taken)
            done |= {arrival.hint.job_id for arrival in taken}
        assert len(done) == 6

    async def test_acknowledging_twice_harms_nothing(self, broker: Broker) -> None:
        await broker.publish([hint("m.a", "1"), hint("m.a", "2")])
        broker.want({"m": 1})
        first = await arriving(broker, 1)
        await broker.acknowledge(first)
        await broker.acknowledge(first)
        await broker.release(first)
        broker.want({"m": 1})
        assert len(await arriving(broker, 1)) == 1

    async def test_what_nobody_took_is_there_after_a_stop(self, broker: Broker, another: Callable[[], Broker]) -> None:
        await broker.publish([hint("m.a", "1")])
        mark = broker.mark()
        broker.want({"m": 1})
        await until(lambda: broker.mark() > mark)
        await broker.stop()
        async with another() as other:
            other.want({"m": 1})
            assert (await arriving(other, 1))[0].hint.job_id == "1"

    async def test_a_stopped_broker_starts_again(self, broker: Broker) -> None:
        await broker.stop()
        await broker.start()
        broker.want({"m": 1})
        await broker.publish([hint("m.a")])
        assert len(await arriving(broker, 1)) == 1

    async def test_two_brokers_share_the_hints_and_nobody_gets_one_twice(
        self, broker: Broker, another: Callable[[], Broker]
    ) -> None:
        ids = [f"{number:03}" for number in range(60)]
        await broker.publish([hint("m.a", job_id) for job_id in ids])
        done: list[str] = []
        async with another() as other:
            await asyncio.gather(*[worked_off(one, len(ids), slots=3, done=done) for one in (broker, other)])
        assert sorted(done) == ids

    async def test_many_hints_at_once_all_arrive(self, broker: Broker) -> None:
        ids = [f"{number:03}" for number in range(300)]
        await broker.publish([hint("m.a", job_id) for job_id in ids])
        assert sorted(await worked_off(broker, len(ids), slots=10)) == ids

    async def test_the_number_that_waits_is_told(self, broker: Broker) -> None:
        assert await broker.waiting("m") in (0, None)
        await broker.publish([hint("m.a", str(number)) for number in range(3)])
        await wait_for_waiting(broker, "m", 3)

    async def test_a_failed_job_is_buried_with_its_attempts(
        self, broker: Broker, buried: Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]
    ) -> None:
        job = failed_job("m.a", attempts=2)
        await broker.bury([job])
        [letter] = await buried("m")
        assert (letter["job_id"], letter["task"], letter["input"]) == (job.id, "m.a", {"text": "x"})
        assert [attempt["outcome"] for attempt in letter["attempts"]] == ["failed", "failed"]
        assert letter["failure"] == {"code": "ValueError", "message": "no such thing"}

    async def test_a_letter_that_no_queue_would_take_is_made_shorter(
        self, broker: Broker, buried: Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]
    ) -> None:
        await broker.bury([failed_job("m.a", attempts=1, text="x" * 2_000_000)])
        [letter] = await buried("m")
        assert letter["input"] is None
        assert len(letter["attempts"]) == 1


async def arriving(broker: Broker, count: int, *, model: str = "m") -> list[Arrival]:
    """Take hints of task `a` of `model` until there are so many."""
    taken: list[Arrival] = []
    while True:
        mark = broker.mark()
        taken += broker.take({model: count - len(taken)})
        if len(taken) == count:
            return taken
        await broker.wait([f"{model}.a"], since=mark, timeout_seconds=SECONDS)


async def worked_off(broker: Broker, count: int, *, slots: int, done: list[str] | None = None) -> list[str]:
    """Do what a gateway does, with work that takes no time, until `done` has so many ids."""
    done = [] if done is None else done
    while len(done) < count:
        mark = broker.mark()
        broker.want({"m": slots})
        taken = broker.take({"m": slots})
        done += [arrival.hint.job_id for arrival in taken]
        await broker.acknowledge(taken)
        if not taken:
            await broker.wait(["m.a"], since=mark, timeout_seconds=0.1)
    broker.want({})
    return done


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


async def wait_for_waiting(broker: Broker, model: str, count: int) -> None:
    """Look again and again until the broker says that so many hints wait, if it can say that.

    One whose connection has just been cut is asked again, too.
    """
    seen: int | None = -1
    while seen not in (count, None):
        with suppress(Unreachable):
            seen = await broker.waiting(model)
        await asyncio.sleep(0.01)


def failed_job(task: str, *, attempts: int, text: str = "x") -> Job:
    """Return a job that failed after so many attempts."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    job, _ = submitted(JobRequest(task=task, input={"text": text}), now)
    failure = Failure("ValueError", "no such thing", retryable=True)
    for number in range(1, attempts + 1):
        job, _ = claimed(job, "worker-1", now, timedelta(seconds=60))
        ends = failure if number < attempts else Failure(failure.code, failure.message, retryable=False)
        job, _ = settled(job, Outcome(OutcomeKind.FAILED, failure=ends), now)
    return job
