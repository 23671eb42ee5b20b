"""What a real RabbitMQ does to the broker on it, and that all of it heals without a restart of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from tests.contracts.test_rabbitmq import dead_letters
from tests.servers.certificates import make_authority
from tests.servers.rabbitmq import RabbitServer, rabbitmq, vhost

from glowplug import events
from glowplug.broker import Hint
from glowplug.brokers import rabbitmq as adapter
from glowplug.brokers import rabbitmq_publishing
from glowplug.brokers.rabbitmq import RabbitBroker
from glowplug.clock import SystemClock
from glowplug.errors import SettingsError, Unreachable
from glowplug.testing.brokers import arriving, hint, until, wait_for_waiting, worked_off

__all__ = ["rabbitmq", "vhost"]

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The events of the test."""
    heard: list[tuple[str, dict[str, Any]]] = []
    former = events.set_sink(lambda spec, fields: heard.append((spec.name, fields)))
    yield heard
    events.set_sink(former)


@pytest.fixture
async def broker(rabbitmq: RabbitServer, vhost: str) -> AsyncIterator[RabbitBroker]:
    async with RabbitBroker(rabbitmq.url(vhost), clock=SystemClock()) as broker:
        yield broker


async def published(broker: RabbitBroker, hints: list[Hint]) -> None:
    """Publish as the relay does: again and again, until the broker takes it."""
    while True:
        try:
            return await broker.publish(hints)
        except Unreachable:
            await asyncio.sleep(0.05)


def said(told: list[tuple[str, dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in told if event == name]


async def test_no_hint_is_lost_when_the_server_is_killed_and_comes_back(
    rabbitmq: RabbitServer, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    ids = [f"{number:04}" for number in range(1000)]
    await broker.publish([hint("m.a", job_id) for job_id in ids])
    broker.want({"m": 1})
    held = await arriving(broker, 1)
    rabbitmq.write_down()
    await asyncio.to_thread(rabbitmq.kill9)
    with pytest.raises(Unreachable, match=r"start it, or check|was lost"):
        await broker.publish([hint("m.a", "lost")])
    assert broker.why is not None
    await broker.acknowledge(held)
    await asyncio.to_thread(rabbitmq.start)
    done = await worked_off(broker, len(ids), slots=10)
    assert sorted(done) == ids
    await until(lambda: broker.why is None)
    assert len(said(told, "broker.lost")) == len(said(told, "broker.restored")) == 1


async def test_connections_that_the_server_closes_come_back(rabbitmq: RabbitServer, broker: RabbitBroker) -> None:
    broker.want({"m": 2})
    await published(broker, [hint("m.a", "1")])
    [first] = await arriving(broker, 1)
    await asyncio.to_thread(rabbitmq.close_connections)
    await published(broker, [hint("m.a", "2")])
    broker.want({"m": 2})
    assert sorted(arrival.hint.job_id for arrival in await arriving(broker, 2)) == ["1", "2"]
    await broker.release([first])
    await broker.acknowledge([first])


async def held_past_the_consumer_timeout(
    rabbitmq: RabbitServer, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]], **timeouts: int
) -> None:
    with rabbitmq.set_to(**timeouts):
        await broker.publish([hint("m.a", "1")])
        broker.want({"m": 1})
        late = await arriving(broker, 1)
        await until_told(told, "broker.rebuilt")
        broker.want({"m": 1})
        again = await arriving(broker, 1)
        await broker.acknowledge(late)
        await broker.acknowledge(again)
        await broker.publish([hint("m.a", "2")])
        assert await worked_off(broker, 1, slots=1) == ["2"]
    await wait_for_waiting(broker, "m", 0)
    assert [late[0].hint, again[0].hint] == [hint("m.a", "1")] * 2
    assert "PRECONDITION_FAILED" in said(told, "broker.rebuilt")[0]["reason"]


async def test_a_hint_that_is_held_past_the_consumer_timeout_comes_again(
    rabbitmq: RabbitServer, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    await held_past_the_consumer_timeout(rabbitmq, broker, told, consumer_timeout=300, channel_tick_interval=200)


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_a_hint_that_is_held_past_a_consumer_timeout_of_a_minute_comes_again(
    rabbitmq: RabbitServer, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    await held_past_the_consumer_timeout(rabbitmq, broker, told, consumer_timeout=60_000)


async def test_a_queue_with_other_arguments_is_refused_with_the_fix_and_heals_once_it_is_gone(
    rabbitmq: RabbitServer, vhost: str, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    async with await aio_pika.connect(rabbitmq.url(vhost)) as connection:
        await (await connection.channel()).declare_queue("glowplug.m", durable=True)
    broker.want({"m": 1})
    with pytest.raises(
        Unreachable, match=r"'glowplug\.m' was declared with other arguments.*inequivalent arg.*delete it"
    ):
        await broker.publish([hint("m.a")])
    await until_told(told, "broker.rebuilt")
    rabbitmq.delete_queue("glowplug.m", vhost)
    await broker.publish([hint("m.a")])
    assert (await arriving(broker, 1))[0].hint == hint("m.a")
    assert len(said(told, "broker.rebuilt")) == 1


async def until_told(told: list[tuple[str, dict[str, Any]]], name: str) -> None:
    while not said(told, name):
        await asyncio.sleep(0.01)


async def test_a_queue_that_somebody_deletes_is_made_again(
    rabbitmq: RabbitServer, vhost: str, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    await broker.publish([hint("m.a", "1")])
    broker.want({"m": 2})
    await arriving(broker, 1)
    rabbitmq.delete_queue("glowplug.m", vhost)
    await broker.publish([hint("m.a", "2")])
    broker.want({"m": 2})
    assert [arrival.hint.job_id for arrival in await arriving(broker, 1)] == ["2"]
    assert await broker.waiting("m") == 0
    assert said(told, "broker.lost") == []


async def test_messages_that_are_no_hints_become_dead_letters_with_the_reason_and_the_rest_flows(
    rabbitmq: RabbitServer, vhost: str, broker: RabbitBroker, told: list[tuple[str, dict[str, Any]]]
) -> None:
    await broker.publish([])
    bodies = [b"\xff\xfe", b"[]", b'{"task": "m.a"}', b'{"job_id": "1", "task": "n.a"}', b"", b"x" * 300_000]
    await broker.publish([hint("m.a", "before")])
    async with await aio_pika.connect(rabbitmq.url(vhost)) as connection:
        exchange = (await connection.channel()).default_exchange
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), routing_key="glowplug.m")
    await broker.publish([hint("m.a", "after")])
    assert await worked_off(broker, 2, slots=1) == ["before", "after"]
    await wait_for_waiting(broker, "m", 0)
    found = await dead_letters(rabbitmq.url(vhost), "m")
    assert [message.body for message in found] == bodies
    reasons = [str(message.headers["x-reason"]) for message in found]
    assert [reason[:8] for reason in reasons] == [
        "not JSON",
        "not a JS",
        "job_id i",
        "task 'n.",
        "not JSON",
        "not JSON",
    ]
    assert {message.headers["x-from-queue"] for message in found} == {"glowplug.m"}
    assert len(said(told, "broker.refused")) == len(bodies)


async def test_nothing_is_confirmed_while_the_server_takes_nothing(
    rabbitmq: RabbitServer, broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.publish([hint("m.a", "1")])
    monkeypatch.setattr(rabbitmq_publishing, "ANSWER_SECONDS", 0.3)
    with rabbitmq.alarmed():
        with pytest.raises(Unreachable, match=r"did not confirm 1 messages.*alarm"):
            await broker.publish([hint("m.a", "2")])
        # What waits already is handed out all the same.
        broker.want({"m": 1})
        assert (await arriving(broker, 1))[0].hint.job_id == "1"
    await published(broker, [hint("m.a", "3")])


async def test_a_consumer_that_died_unnoticed_is_rebuilt(
    broker: RabbitBroker,
    told: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    rabbitmq: RabbitServer,
    vhost: str,
) -> None:
    monkeypatch.setattr(adapter, "WATCH_SECONDS", 0.2)
    async with RabbitBroker(rabbitmq.url(vhost), clock=SystemClock()) as broker:
        await broker.publish([hint("m.a", "1")])
        broker.want({"m": 1})
        await broker.acknowledge(await arriving(broker, 1))
        broker.want({"m": 1})
        session = broker._intakes["m"]._session
        assert session is not None
        for tag in session.lanes:
            await session._open_channel.basic_cancel(tag)
        await broker.publish([hint("m.a", "2")])
        assert (await arriving(broker, 1))[0].hint.job_id == "2"
    assert ["none came" in fields["reason"] for fields in said(told, "broker.rebuilt")] == [True]


async def test_no_hint_waits_behind_a_long_job(rabbitmq: RabbitServer, vhost: str, broker: RabbitBroker) -> None:
    await broker.publish([hint("m.a", "1"), hint("m.a", "2")])
    broker.want({"m": 1})
    [busy] = await arriving(broker, 1)
    await broker.acknowledge([busy])
    broker.want({"m": 0})
    async with RabbitBroker(rabbitmq.url(vhost), clock=SystemClock()) as other:
        other.want({"m": 2})
        assert [arrival.hint.job_id for arrival in await arriving(other, 1)] == ["2"]
        # The first one is acknowledged behind the cancellation of its consumer, and so does not come again.
        await until(lambda: not broker._intakes["m"]._lanes())
        await asyncio.to_thread(rabbitmq.close_connections)
        assert [arrival.hint.job_id for arrival in await arriving(other, 1)] == ["2"]
        await wait_for_waiting(other, "m", 0)


async def test_one_model_s_trouble_is_not_another_s(rabbitmq: RabbitServer, vhost: str, broker: RabbitBroker) -> None:
    await broker.publish([hint("m.a", "1"), hint("n.a", "2")])
    broker.want({"m": 1, "n": 1})
    held = [*await arriving(broker, 1), *await arriving(broker, 1, model="n")]
    rabbitmq.delete_queue("glowplug.m", vhost)
    await published(broker, [hint("m.a", "3")])
    broker.want({"m": 1, "n": 0})
    await arriving(broker, 1)
    await broker.acknowledge(held)
    await broker.stop()
    async with RabbitBroker(rabbitmq.url(vhost), clock=SystemClock()) as other:
        assert (await other.waiting("m"), await other.waiting("n")) == (1, 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"password": "wrong"}, "refused the login of 'guest': check user and password"),
        ({"vhost": "nowhere"}, "no vhost 'nowhere'.*rabbitmqctl add_vhost nowhere"),
    ],
)
async def test_an_address_that_is_refused_says_why_and_stops_nothing(
    rabbitmq: RabbitServer, told: list[tuple[str, dict[str, Any]]], change: dict[str, str], why: str
) -> None:
    async with RabbitBroker(rabbitmq.url(**change), clock=SystemClock()) as broker:
        with pytest.raises(Unreachable, match=why):
            await broker.publish([hint("m.a")])
        broker.want({"m": 1})
        assert "wrong" not in str(told)
        assert len(said(told, "broker.lost")) == 1


async def test_a_user_without_rights_is_told_which_command_gives_them(rabbitmq: RabbitServer, vhost: str) -> None:
    rabbitmq.make_user(f"bob-{vhost}", "pw")
    async with RabbitBroker(rabbitmq.url(vhost, user=f"bob-{vhost}", password="pw"), clock=SystemClock()) as broker:
        with pytest.raises(Unreachable, match="set_permissions"):
            await broker.publish([hint("m.a")])


async def test_a_server_that_is_not_there_yet_is_waited_for(told: list[tuple[str, dict[str, Any]]]) -> None:
    async with RabbitBroker("amqp://u:p@127.0.0.1:1", clock=SystemClock()) as broker:
        heard: list[str | None] = []
        broker.on_change = heard.append
        broker.want({"m": 1})
        with pytest.raises(Unreachable, match="refused the connection: start it"):
            await broker.publish([hint("m.a")])
        with pytest.raises(Unreachable):
            await broker.waiting("m")
    assert len(said(told, "broker.lost")) == 1


async def test_tls_is_used_with_a_certificate_that_is_checked(rabbitmq: RabbitServer, tmp_path: Path) -> None:
    async with RabbitBroker(rabbitmq.tls_url(rabbitmq.ca_file), clock=SystemClock(), prefix="tls") as broker:
        await broker.publish([hint("m.a")])
        broker.want({"m": 1})
        await broker.acknowledge(await arriving(broker, 1))
    for ca_file in (None, make_authority(tmp_path)):
        async with RabbitBroker(rabbitmq.tls_url(ca_file), clock=SystemClock(), prefix="tls") as broker:
            with pytest.raises(Unreachable, match=r"not trusted.*cacertfile"):
                await broker.publish([hint("m.a")])


async def test_a_ca_file_that_is_not_there_is_a_setting_to_mend(rabbitmq: RabbitServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.pem"):
        await RabbitBroker(rabbitmq.tls_url(tmp_path / "absent.pem"), clock=SystemClock()).start()


async def test_the_login_that_every_server_has_is_warned_of(
    rabbitmq: RabbitServer, told: list[tuple[str, dict[str, Any]]]
) -> None:
    async with RabbitBroker(rabbitmq.url(), clock=SystemClock()):
        [warning] = said(told, "broker.insecure")
    assert "add_user" in warning["advice"]


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_hints_keep_flowing_through_kill_after_kill(rabbitmq: RabbitServer, vhost: str) -> None:
    ids = [f"{number:04}" for number in range(3000)]
    done: set[str] = set()
    stop = asyncio.Event()

    async def work(broker: RabbitBroker) -> None:
        while not stop.is_set():
            mark = broker.mark()
            broker.want({"m": 5})
            taken = broker.take({"m": 5})
            done.update(arrival.hint.job_id for arrival in taken)
            await broker.acknowledge(taken)
            if not taken:
                await broker.wait(["m.a"], since=mark, timeout_seconds=0.2)

    async def send(broker: RabbitBroker) -> None:
        for begin in range(0, len(ids), 50):
            await published(broker, [hint("m.a", job_id) for job_id in ids[begin : begin + 50]])
            await asyncio.sleep(0.2)

    def another() -> RabbitBroker:
        return RabbitBroker(rabbitmq.url(vhost), clock=SystemClock())

    async with another() as one, another() as two:
        await published(one, [hint("m.a", "first")])
        rabbitmq.write_down()
        workers = [asyncio.create_task(work(broker)) for broker in (one, two)]
        sending = asyncio.create_task(send(one))
        for _ in range(3):
            await asyncio.sleep(2)
            await asyncio.to_thread(rabbitmq.restart)
        await sending
        await until(lambda: done >= set(ids))
        stop.set()
        await asyncio.gather(*workers)


@pytest.mark.chaos
async def test_a_server_that_hangs_holds_up_no_stop(rabbitmq: RabbitServer, vhost: str) -> None:
    broker = RabbitBroker(rabbitmq.url(vhost), clock=SystemClock())
    await broker.start()
    await broker.publish([hint("m.a")])
    broker.want({"m": 1})
    await broker.acknowledge(await arriving(broker, 1))
    with rabbitmq.frozen():
        await broker.stop()
