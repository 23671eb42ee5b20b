"""The event exchange: a real RabbitMQ, a real gateway, and somebody who bound a queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from tests.servers.message_check import checked_event
from tests.servers.rabbitmq import RabbitServer, rabbitmq, vhost
from tests.unit.doors.message_house import HastyClock
from tests.unit.gateway.house import House, Told, house

from glowplug.clock import ManualClock, SystemClock
from glowplug.doors.event_exchange import EventExchange, routing_key
from glowplug.errors import SettingsError
from glowplug.job import Follower, JobEvent, JobRequest, Note

__all__ = ["rabbitmq", "vhost"]
EXCHANGE = "glowplug.events"


class Bound:
    """A queue that is bound to the exchange."""

    def __init__(self, queue: aio_pika.abc.AbstractQueue) -> None:
        self._queue = queue

    async def message(self) -> AbstractIncomingMessage:
        async with asyncio.timeout(20):
            while (found := await self._queue.get(no_ack=True, fail=False)) is None:
                await asyncio.sleep(0.02)
        return found

    async def until(self, kind: str) -> list[AbstractIncomingMessage]:
        found = [await self.message()]
        while not str(found[-1].type).endswith(f".{kind}"):
            found.append(await self.message())
        return found


@asynccontextmanager
async def bound(url: str, pattern: str, name: str = "mine") -> AsyncIterator[Bound]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(name, durable=True)
        await queue.bind(EXCHANGE, pattern)
        yield Bound(queue)


@asynccontextmanager
async def opened(folder: Path, url: str) -> AsyncIterator[House]:
    door = EventExchange(url, EXCHANGE, clock=HastyClock(), source="http://127.0.0.1:9000")
    async with house(folder, SystemClock(), doors=(door,)) as home:
        yield home


def test_every_job_is_followed_with_all_its_events() -> None:
    door = EventExchange("amqp://me:secret@127.0.0.1:1/", EXCHANGE, clock=ManualClock())
    assert door.follower(JobRequest(task="echo.say", input={})) == Follower("events")
    assert routing_key(JobEvent("019a", 3, "completed", datetime(2026, 1, 1, tzinfo=UTC))) == "job.019a.completed"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="amqp://"):
        EventExchange("http://broker", EXCHANGE, clock=ManualClock())


async def test_whoever_binds_a_queue_hears_every_job_in_order(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str
) -> None:
    url = rabbitmq.url(vhost)
    async with (
        bound(url, "job.#") as mine,
        bound(url, "job.*.completed", "ends") as ends,
        opened(tmp_path, url) as home,
    ):
        worker = home.worker()
        await worker.register()
        job = await home.submit()
        grant = await worker.one()
        await worker.note(grant, Note("metrics", {"loss": 0.5}))
        assert await worker.finish(grant, {"file": "artifact://jobs/x/1/file.png"})
        messages = await mine.until("completed")
        events = [checked_event(one.body) for one in messages]
        assert [one["type"] for one in events] == ["queued", "started", "metrics", "completed"]
        assert [one["seq"] for one in events] == [1, 2, 3, 4]
        last = messages[-1]
        assert (last.routing_key, last.message_id) == (f"job.{job['id']}.completed", f"{job['id']}:4")
        assert (last.content_type, last.delivery_mode) == (
            "application/cloudevents+json",
            aio_pika.DeliveryMode.PERSISTENT,
        )
        assert json.loads(last.body)["source"] == "http://127.0.0.1:9000"
        assert json.loads((await ends.message()).body) == json.loads(last.body)


async def test_nobody_bound_is_no_failure(tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told) -> None:
    async with opened(tmp_path, rabbitmq.url(vhost)) as home:
        worker = home.worker()
        await worker.register()
        job = await home.run_one(worker)
        async with asyncio.timeout(20):
            while not any(one["seq"] == 3 and one["outcome"] == "taken" for one in told.of("delivery.tried")):
                await asyncio.sleep(0.01)
        assert (await home.job(job["id"]))["state"] == "completed"
    assert not told.of("delivery.failed")


async def test_a_connection_that_is_cut_loses_no_event(tmp_path: Path, rabbitmq: RabbitServer, vhost: str) -> None:
    url = rabbitmq.url(vhost)
    async with opened(tmp_path, url) as home:
        worker = home.worker()
        await worker.register()
        async with bound(url, "job.#") as mine:
            await home.run_one(worker)
            await mine.until("completed")
        await asyncio.to_thread(rabbitmq.close_connections)
        job = await home.run_one(worker)
        async with bound(url, "job.#") as mine:
            events = [checked_event(one.body) for one in await mine.until("completed")]
        assert sorted({one["seq"] for one in events if one["job_id"] == job["id"]}) == [1, 2, 3]


async def test_an_exchange_of_another_kind_is_told_with_the_fix(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    url = rabbitmq.url(vhost)
    async with await aio_pika.connect(url) as connection:
        await (await connection.channel()).declare_exchange(EXCHANGE, "fanout")
    async with opened(tmp_path, url) as home:
        worker = home.worker()
        await worker.register()
        assert (await home.run_one(worker))["state"] == "completed"
        async with asyncio.timeout(20):
            while not told.of("delivery.failed"):
                await asyncio.sleep(0.01)
    assert "set events.exchange to another name" in told.of("delivery.failed")[0]["error"]


async def test_a_broker_that_is_away_is_told_once_with_the_fix_and_http_goes_on(tmp_path: Path, told: Told) -> None:
    async with opened(tmp_path, "amqp://me:secret@127.0.0.1:1/") as home:
        worker = home.worker()
        await worker.register()
        assert (await home.run_one(worker))["state"] == "completed"
        async with asyncio.timeout(20):
            while not told.of("door.lost"):
                await asyncio.sleep(0.01)
    (lost,) = told.of("door.lost")
    assert (lost["door"], "start it" in lost["error"]) == ("events", True)
    assert "secret" not in str(told.events)


async def test_who_may_not_make_the_exchange_uses_the_one_that_is_there(
    tmp_path: Path, rabbitmq: RabbitServer, vhost: str, told: Told
) -> None:
    rabbitmq.make_user("teller", "known")
    rights = f'<<"teller">>, <<"{vhost}">>, <<"">>, <<".*">>, <<".*">>, <<"tests">>'
    rabbitmq.ask(f"rabbit_auth_backend_internal:set_permissions({rights}).")
    async with opened(tmp_path, rabbitmq.url(vhost, user="teller", password="known")) as home:
        worker = home.worker()
        await worker.register()
        await home.run_one(worker)
        async with asyncio.timeout(20):
            while not told.of("delivery.failed"):
                await asyncio.sleep(0.01)
        assert "set_permissions" in told.of("delivery.failed")[0]["error"]
        async with bound(rabbitmq.url(vhost), "job.#") as mine:
            events = [checked_event(one.body) for one in await mine.until("completed")]
        assert [one["seq"] for one in events] == [1, 2, 3]
