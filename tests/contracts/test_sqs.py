"""The broker on SQS: a hint goes to one, comes back when nobody took it, and a service that is away harms nothing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.servers.moto import MotoServer, aws_keys, moto, running_moto

from glowplug.broker import Arrival, Broker, Hint
from glowplug.brokers.sqs import SqsBroker
from glowplug.brokers.sqs_intake import HOLD_SECONDS
from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import BugError, Unreachable
from glowplug.events import EventSpec, set_sink
from glowplug.job import Attempt, Failure, Job, JobState, OutcomeKind
from glowplug.testing.brokers import CarrierSuite

__all__ = ["aws_keys", "moto"]
pytestmark = pytest.mark.usefixtures("aws_keys")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
async def life() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    heard: list[tuple[str, dict[str, Any]]] = []

    def listen(spec: EventSpec, fields: dict[str, Any]) -> None:
        heard.append((spec.name, fields))

    previous = set_sink(listen)
    yield heard
    set_sink(previous)


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def url(request: pytest.FixtureRequest, moto: MotoServer) -> str:
    return moto.queues_url(fifo=request.param)


async def started(life: AsyncExitStack, url: str, clock: Clock | None = None) -> SqsBroker:
    return await life.enter_async_context(SqsBroker(url, clock=clock or SystemClock(), poll_seconds=1))


def hints(*numbers: int, task: str = "m.a") -> list[Hint]:
    return [Hint(str(number), task) for number in numbers]


def ids(arrivals: Sequence[Arrival]) -> list[str]:
    return [arrival.hint.job_id for arrival in arrivals]


async def taken(broker: SqsBroker, count: int, model: str = "m") -> list[Arrival]:
    """Wait until so many have arrived, and take them."""
    found: list[Arrival] = []
    while len(found) < count:
        mark = broker.mark()
        found += broker.take({model: count - len(found)})
        if len(found) < count:
            await broker.wait([f"{model}.a"], since=mark, timeout_seconds=5)
    return found


async def until_waiting(broker: SqsBroker, count: int, model: str = "m") -> None:
    while await broker.waiting(model) != count:
        await asyncio.sleep(0.01)


def dead_letters(moto: MotoServer, url: str, model: str = "m") -> list[dict[str, Any]]:
    prefix = url.split("/")[3].partition("?")[0]
    ending = ".fifo" if url.endswith("true") else ""
    client = moto.client()
    queue = client.get_queue_url(QueueName=f"{prefix}-{model}-dlq{ending}")["QueueUrl"]
    found = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    messages: list[dict[str, Any]] = found.get("Messages", [])
    return messages


def queue_url(moto: MotoServer, url: str, model: str = "m") -> str:
    prefix = url.split("/")[3].partition("?")[0]
    ending = ".fifo" if url.endswith("true") else ""
    found: str = moto.client().get_queue_url(QueueName=f"{prefix}-{model}{ending}")["QueueUrl"]
    return found


class TestSqsBroker(CarrierSuite):
    @pytest.fixture
    def url(self, moto: MotoServer) -> str:
        return moto.queues_url()

    @pytest.fixture
    async def broker(self, url: str, clock: Clock) -> AsyncIterator[Broker]:
        async with SqsBroker(url, clock=clock, poll_seconds=1) as broker:
            yield broker

    @pytest.fixture
    def another(self, url: str, clock: Clock) -> Callable[[], Broker]:
        return lambda: SqsBroker(url, clock=clock, poll_seconds=1)

    @pytest.fixture
    def buried(self, url: str, moto: MotoServer) -> Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]:
        async def read(model: str) -> Sequence[Mapping[str, Any]]:
            return [json.loads(found["Body"]) for found in dead_letters(moto, url, model)]

        return read

    @pytest.mark.chaos
    async def test_many_hints_at_once_all_arrive(self, broker: Broker) -> None:
        await super().test_many_hints_at_once_all_arrive(broker)


@pytest.mark.chaos
class TestFifoQueues(TestSqsBroker):
    @pytest.fixture
    def url(self, moto: MotoServer) -> str:
        return moto.queues_url(fifo=True)


class TestHints:
    """What the suite asks of standard queues in the short form, asked of ordered ones."""

    @pytest.fixture
    def url(self, moto: MotoServer) -> str:
        return moto.queues_url(fifo=True)

    async def test_a_hint_arrives_where_it_is_wanted_and_is_gone_once_acknowledged(
        self, life: AsyncExitStack, url: str
    ) -> None:
        broker, other = await started(life, url), await started(life, url)
        mark = other.mark()
        other.want({"m": 1})
        await broker.publish([Hint("7", "m.a", 5, "anna")])
        assert await other.wait(["m.a"], since=mark, timeout_seconds=20)
        (arrival,) = other.take({"m": 3})
        assert arrival.hint == Hint("7", "m.a", 5, "anna")
        await other.acknowledge([arrival])
        assert await broker.waiting("m") == 0
        assert other.take({"m": 1}) == []

    async def test_nothing_is_received_for_a_model_that_has_no_room(self, life: AsyncExitStack, url: str) -> None:
        broker = await started(life, url)
        await broker.publish([*hints(1, 2), *hints(3, task="n.a")])
        broker.want({"n": 1, "m": 0})
        assert ids(await taken(broker, 1, "n")) == ["3"]
        assert await broker.waiting("m") == 2
        assert broker.take({"m": 2}) == []

    async def test_no_more_is_held_than_there_is_room_for(self, life: AsyncExitStack, url: str) -> None:
        broker = await started(life, url)
        await broker.publish(hints(*range(9)))
        broker.want({"m": 4})
        first = await taken(broker, 4)
        assert broker.take({"m": 9}) == []
        assert await broker.waiting("m") == 5
        await broker.acknowledge(first[:1])
        second = await taken(broker, 1)
        assert {*ids(first), *ids(second)} <= {str(number) for number in range(9)}
        assert not {*ids(first)} & {*ids(second)}

    async def test_what_is_too_much_goes_back_at_once(self, life: AsyncExitStack, url: str) -> None:
        broker, other = await started(life, url), await started(life, url)
        await broker.publish(hints(1, 2, 3))
        mark = broker.mark()
        broker.want({"m": 3})
        await broker.wait(["m.a"], since=mark, timeout_seconds=20)
        await until_waiting(broker, 0)
        broker.want({})
        other.want({"m": 3})
        assert sorted(ids(await taken(other, 3))) == ["1", "2", "3"]

    async def test_a_released_hint_is_another_s_at_once(self, life: AsyncExitStack, url: str) -> None:
        broker, other = await started(life, url), await started(life, url)
        broker.want({"m": 1})
        await broker.publish(hints(1))
        held = await taken(broker, 1)
        broker.want({})
        await broker.release(held)
        other.want({"m": 1})
        assert ids(await taken(other, 1)) == ["1"]

    async def test_two_gateways_share_without_getting_the_same(self, life: AsyncExitStack, url: str) -> None:
        brokers = [await started(life, url) for _ in range(2)]
        await brokers[0].publish(hints(*range(60)))
        got: list[str] = []

        async def consume(broker: SqsBroker) -> None:
            broker.want({"m": 5})
            while len(got) < 60:
                mark = broker.mark()
                arrivals = broker.take({"m": 5})
                got.extend(ids(arrivals))
                await broker.acknowledge(arrivals)
                if not arrivals:
                    await broker.wait(["m.a"], since=mark, timeout_seconds=0.2)

        await asyncio.gather(*map(consume, brokers))
        assert sorted(got, key=int) == [str(number) for number in range(60)]

    async def test_a_job_that_is_hinted_at_again_within_five_minutes_gets_through(
        self, life: AsyncExitStack, url: str
    ) -> None:
        broker = await started(life, url)
        broker.want({"m": 1})
        for _ in range(3):
            await broker.publish(hints(1))
            await broker.acknowledge(await taken(broker, 1))

    async def test_what_nobody_took_while_it_was_hidden_is_forgotten(
        self, life: AsyncExitStack, moto: MotoServer
    ) -> None:
        clock = ManualClock()
        broker = await started(life, moto.queues_url(), clock)
        mark = broker.mark()
        broker.want({"m": 1})
        await broker.publish(hints(1))
        arrived = asyncio.create_task(broker.wait(["m.a"], since=mark, timeout_seconds=1e6))
        assert await arrived
        await clock.advance(HOLD_SECONDS)
        assert broker.take({"m": 1}) == []
        await broker.publish(hints(2))
        assert ids(await taken(broker, 1)) == ["2"]

    async def test_a_second_acknowledgement_and_one_of_somebody_else_s_hint_are_let_be(
        self, life: AsyncExitStack, url: str
    ) -> None:
        broker, other = await started(life, url), await started(life, url)
        broker.want({"m": 1})
        await broker.publish(hints(1))
        held = await taken(broker, 1)
        await broker.release(held)
        await other.acknowledge(held)
        await broker.acknowledge(held)
        await broker.acknowledge([Arrival(Hint("9", "m.a"), "not of this broker")])


class TestStops:
    async def test_a_stop_gives_back_what_was_held_and_ends_its_threads(self, life: AsyncExitStack, url: str) -> None:
        broker, other = await started(life, url), await started(life, url)
        await other.publish(hints(1, 2, 3))
        broker.want({"m": 3, "idle": 1})
        assert len(await taken(broker, 1)) == 1
        await until_waiting(other, 0)
        await broker.stop()
        other.want({"m": 3})
        assert sorted(ids(await taken(other, 3))) == ["1", "2", "3"]
        await other.stop()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sqs")] == []

    async def test_a_stop_ends_every_wait_and_a_stopped_broker_starts_again(
        self, life: AsyncExitStack, url: str
    ) -> None:
        broker = await started(life, url)
        wait = asyncio.create_task(broker.wait(["m.a"], since=broker.mark(), timeout_seconds=1000))
        await asyncio.sleep(0)
        await broker.stop()
        assert await wait is False
        with pytest.raises(BugError):
            await broker.publish(hints(1))
        broker.want({"m": 1})
        await broker.acknowledge([])
        await broker.start()
        broker.want({"m": 1})
        await broker.publish(hints(1))
        assert ids(await taken(broker, 1)) == ["1"]


class TestQueues:
    async def test_a_queue_is_made_with_its_dead_letters_after_a_hundred_receives(
        self, life: AsyncExitStack, moto: MotoServer
    ) -> None:
        url = moto.queues_url()
        broker = await started(life, url)
        await broker.publish(hints(1))
        client = moto.client()
        made = client.get_queue_attributes(QueueUrl=queue_url(moto, url), AttributeNames=["All"])["Attributes"]
        dead = client.get_queue_attributes(QueueUrl=queue_url(moto, url, "m-dlq"), AttributeNames=["All"])["Attributes"]
        redrive = json.loads(made["RedrivePolicy"])
        assert (int(redrive["maxReceiveCount"]), redrive["deadLetterTargetArn"]) == (100, dead["QueueArn"])
        assert (made["VisibilityTimeout"], dead["MessageRetentionPeriod"]) == ("60", str(14 * 86_400))

    async def test_a_queue_that_is_there_with_other_attributes_is_used_as_it_is(
        self, life: AsyncExitStack, moto: MotoServer
    ) -> None:
        url = moto.queues_url(prefix="theirs")
        theirs = {"VisibilityTimeout": "7", "DelaySeconds": "0", "MessageRetentionPeriod": "600"}
        moto.client().create_queue(QueueName="theirs-m", Attributes=theirs)
        broker = await started(life, url)
        await broker.publish(hints(1))
        broker.want({"m": 1})
        await broker.acknowledge(await taken(broker, 1))
        kept = moto.client().get_queue_attributes(QueueUrl=queue_url(moto, url), AttributeNames=["All"])["Attributes"]
        assert {name: kept[name] for name in theirs} == theirs
        assert "RedrivePolicy" not in kept

    async def test_a_queue_that_somebody_deletes_is_made_again(
        self, life: AsyncExitStack, url: str, moto: MotoServer
    ) -> None:
        broker = await started(life, url)
        broker.want({"m": 1})
        await broker.publish(hints(1))
        await broker.acknowledge(await taken(broker, 1))
        moto.client().delete_queue(QueueUrl=queue_url(moto, url))
        await broker.publish(hints(2))
        assert ids(await taken(broker, 1)) == ["2"]

    async def test_the_count_of_a_queue_that_nobody_made_is_none_at_all(self, life: AsyncExitStack, url: str) -> None:
        broker = await started(life, url)
        assert await broker.waiting("never") == 0

    async def test_the_model_s_name_may_hold_what_a_queue_s_may_not(self, life: AsyncExitStack, url: str) -> None:
        broker = await started(life, url)
        model = "mödel with spaces" * 10
        await broker.publish([Hint("1", f"{model}.a")])
        broker.want({model: 1})
        assert ids(await taken(broker, 1, model)) == ["1"]


class TestDeadLetters:
    @pytest.mark.parametrize(
        "body", ["no json", "[]", "{}", '{"job_id": 1, "task": "m.a"}', '{"job_id": "1", "task": "other.a"}']
    )
    async def test_a_message_that_is_no_hint_is_a_dead_letter_with_the_reason(
        self, life: AsyncExitStack, moto: MotoServer, told: list[tuple[str, dict[str, Any]]], body: str
    ) -> None:
        url = moto.queues_url()
        broker = await started(life, url)
        await broker.publish(hints(1))
        moto.client().send_message(QueueUrl=queue_url(moto, url), MessageBody=body)
        broker.want({"m": 5})
        await broker.acknowledge(await taken(broker, 1))
        while not (found := dead_letters(moto, url)):
            await asyncio.sleep(0.01)
        assert [letter["Body"] for letter in found] == [body]
        reason = found[0]["MessageAttributes"]["reason"]["StringValue"]
        await until_waiting(broker, 0)
        assert [fields for name, fields in told if name == "broker.refused"] == [{"queue": "m", "reason": reason}]

    async def test_a_failed_job_is_buried_with_its_attempts(
        self, life: AsyncExitStack, url: str, moto: MotoServer
    ) -> None:
        broker = await started(life, url)
        await broker.bury([failed_job("1"), failed_job("2", input={"text": "x" * 2_000_000})])
        letters = {json.loads(found["Body"])["job_id"]: found for found in dead_letters(moto, url)}
        said = json.loads(letters["1"]["Body"])
        assert (said["input"], said["failure"]["code"]) == ({"text": "hello"}, "task_failed")
        assert [(one["number"], one["worker"], one["outcome"]) for one in said["attempts"]] == [(1, "w", "failed")]
        assert letters["1"]["MessageAttributes"]["reason"]["StringValue"] == "it broke"
        assert json.loads(letters["2"]["Body"])["left_out"] == ["input"]


def failed_job(job_id: str, **changed: Any) -> Job:
    failure = Failure("task_failed", "it broke")
    attempt = Attempt(1, 1, "w", NOW, NOW, OutcomeKind.FAILED, failure)
    facts: dict[str, Any] = {"task": "m.a", "input": {"text": "hello"}, "owner": "anna", "state": JobState.FAILED}
    facts |= {"created_at": NOW, "run_at": NOW, "failure": failure, "attempts": (attempt,)}
    return Job(id=job_id, **{**facts, **changed})


class TestFaults:
    async def test_a_service_that_is_away_hinders_no_start_and_is_found_when_it_comes(
        self, life: AsyncExitStack, tmp_path: Path, told: list[tuple[str, dict[str, Any]]]
    ) -> None:
        with running_moto(tmp_path) as server:
            url = server.queues_url()
            server.kill9()
            broker = await started(life, url)
            broker.want({"m": 1})
            with pytest.raises(Unreachable, match="check address"):
                await broker.publish(hints(1))
            with pytest.raises(Unreachable):
                await broker.waiting("m")
            with pytest.raises(Unreachable):
                await broker.bury([failed_job("1")])
            server.start()
            await broker.publish(hints(1))
            assert ids(await taken(broker, 1)) == ["1"]
            await broker.stop()
        names = [name for name, _ in told]
        assert names.count("broker.lost") == names.count("broker.restored") == 1

    async def test_a_service_that_lost_everything_gets_its_queues_again(
        self, life: AsyncExitStack, tmp_path: Path
    ) -> None:
        with running_moto(tmp_path) as server:
            broker = await started(life, server.queues_url())
            broker.want({"m": 2})
            await broker.publish(hints(1, 2))
            held = await taken(broker, 2)
            server.kill9()
            await broker.acknowledge(held[:1])
            await broker.release(held[1:])
            server.start()
            assert await broker.waiting("m") == 0
            await broker.publish(hints(3))
            assert ids(await taken(broker, 1)) == ["3"]
            await broker.stop()

    async def test_a_stop_while_the_service_is_away_is_soon_done(self, life: AsyncExitStack, tmp_path: Path) -> None:
        with running_moto(tmp_path) as server:
            broker = await started(life, server.queues_url())
            broker.want({"m": 2})
            await broker.publish(hints(1))
            await taken(broker, 1)
            server.kill9()
            began = time.monotonic()
            await broker.stop()
            assert time.monotonic() - began < 20

    @pytest.mark.parametrize("call", ["publish", "waiting"])
    async def test_without_credentials_the_message_says_which_to_set(
        self, life: AsyncExitStack, moto: MotoServer, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        broker = await started(life, moto.queues_url())
        with pytest.raises(Unreachable, match="AWS_ACCESS_KEY_ID"):
            await (broker.publish(hints(1)) if call == "publish" else broker.waiting("m"))

    async def test_keys_that_the_service_does_not_know_are_told_without_their_secret(
        self, life: AsyncExitStack, tmp_path: Path, told: list[tuple[str, dict[str, Any]]]
    ) -> None:
        with running_moto(tmp_path) as server:
            server.check_keys(check=True)
            broker = await started(life, server.queues_url())
            broker.want({"m": 1})
            with pytest.raises(Unreachable, match="check the access key") as caught:
                await broker.publish(hints(1))
            server.check_keys(check=False)
            await broker.publish(hints(1))
            await taken(broker, 1)
            await broker.stop()
        assert "nobody-may-see" not in f"{caught.value} {caught.value.data} {told}"
        assert [fields["broker"] for name, fields in told if name == "broker.lost"] == [f"SQS at {server.endpoint}"]
