"""What subscribers see: a real mosquitto, a real gateway, and a worker played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.servers.message_check import check, checked_event
from tests.servers.mosquitto import PASSWORD, USER, MosquittoServer, mosquitto
from tests.servers.mqtt_reader import MqttReader, reading
from tests.servers.proxy import BreakingProxy
from tests.unit.doors.message_house import HastyClock
from tests.unit.gateway.house import House, Told, house

from glowplug.clock import SystemClock
from glowplug.doors.mqtt import KEPT_SECONDS, MqttDoor, MqttOptions
from glowplug.job import Note, Progress
from glowplug.readiness import Board

__all__ = ["mosquitto"]
Opened = Callable[..., AbstractAsyncContextManager[House]]


def url_of(server: MosquittoServer, port: int | None = None) -> str:
    return f"mqtt://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port or server.port}"


@pytest.fixture
def prefix(mosquitto: MosquittoServer) -> str:
    return mosquitto.new_prefix()


@pytest.fixture
def board() -> Board:
    return Board(SystemClock())


@pytest.fixture
def opened(tmp_path: Path, mosquitto: MosquittoServer, prefix: str, board: Board) -> Opened:
    @asynccontextmanager
    async def made(url: str | None = None) -> AsyncIterator[House]:
        options = MqttOptions.from_url(url or url_of(mosquitto), prefix=prefix, readiness=lambda: board)
        door = MqttDoor(options, clock=HastyClock())
        async with house(tmp_path, SystemClock(), doors=(door,)) as home:
            yield home

    return made


def step(percent: float) -> Note:
    data = {"done": percent, "total": 100, "percent": percent, "note": "going", "preview": None}
    return Note("progress", data, progress=Progress(percent, 100, "going"))


def last(reader: MqttReader, prefix: str) -> dict[str, Any]:
    return [{"state": None, "ready": False}, *reader.events(f"{prefix}/readiness")][-1]


def types(reader: MqttReader, topic: str) -> list[str]:
    return [str(checked_event(body)["type"]) for body in reader.of(topic)]


async def test_a_subscriber_sees_a_job_from_the_queue_to_its_end_in_order(
    opened: Opened, mosquitto: MosquittoServer, prefix: str
) -> None:
    async with reading(mosquitto, f"{prefix}/jobs/#") as reader, opened() as home:
        worker = home.worker()
        await worker.register()
        job = await home.submit()
        grant = await worker.one()
        await worker.note(grant, step(10), Note("metrics", {"loss": 0.5}), step(20))
        assert await worker.finish(grant, {"file": "artifact://jobs/x/1/file.png"})
        topic = f"{prefix}/jobs/{job['id']}"
        await reader.until(lambda seen: "completed" in types(seen, f"{topic}/state"))
        assert types(reader, f"{topic}/state") == ["queued", "started", "completed"]
        assert types(reader, f"{topic}/progress") == ["progress", "metrics", "progress"]
        numbers = [checked_event(bytes(one.payload))["seq"] for one in reader.messages]
        assert numbers == [1, 2, 3, 4, 5, 6]
        assert checked_event(reader.of(f"{topic}/state")[-1])["result"] == {"file": "artifact://jobs/x/1/file.png"}


async def test_a_late_subscriber_sees_the_state_which_does_not_stay_for_ever(
    opened: Opened, mosquitto: MosquittoServer, prefix: str
) -> None:
    async with opened() as home:
        worker = home.worker()
        await worker.register()
        ended, waits = await home.run_one(worker), await home.submit()
        async with reading(mosquitto, f"{prefix}/#") as early:
            await early.until(lambda seen: types(seen, f"{prefix}/jobs/{ended['id']}/state")[-1:] == ["completed"])
            await early.until(lambda seen: seen.of(f"{prefix}/jobs/{waits['id']}/state"))
        async with reading(mosquitto, f"{prefix}/jobs/#") as late:
            await late.until(lambda seen: len(seen.messages) == 2)
            assert types(late, f"{prefix}/jobs/{ended['id']}/state") == ["completed"]
            assert types(late, f"{prefix}/jobs/{waits['id']}/state") == ["queued"]
            left = {one.topic.value: getattr(one.properties, "MessageExpiryInterval", -1) for one in late.messages}
    assert left[f"{prefix}/jobs/{waits['id']}/state"] == -1
    assert 0 < left[f"{prefix}/jobs/{ended['id']}/state"] <= KEPT_SECONDS


async def test_workers_and_readiness_are_shown_as_they_are(
    opened: Opened, mosquitto: MosquittoServer, prefix: str, board: Board
) -> None:
    component = board.add("echo", model="echo")
    async with opened() as home, reading(mosquitto, f"{prefix}/#") as reader:
        await home.worker("gpu/1+#").register()
        topic = f"{prefix}/workers/gpu%2F1%2B%23/state"
        await reader.until(lambda seen: seen.events(topic)[-1:] and seen.events(topic)[-1]["status"] == "ready")
        component.begin()
        await reader.until(lambda seen: last(seen, prefix)["state"] == "LOADING_MODELS")
        component.ready()
        await reader.until(lambda seen: last(seen, prefix)["ready"])
        check("worker_state", reader.events(topic)[-1])
        check("readiness", reader.events(f"{prefix}/readiness")[-1])
        assert reader.events(topic)[-1]["models"] == ["echo"]


async def test_the_broker_says_that_the_gateway_is_gone_when_nobody_else_can(
    opened: Opened, mosquitto: MosquittoServer, prefix: str
) -> None:
    topic = f"{prefix}/gateway/state"
    async with reading(mosquitto, topic) as reader, BreakingProxy(f"http://127.0.0.1:{mosquitto.port}") as proxy:
        # As long as it takes to come up; then the line is cut.
        proxy.break_requests = [400]
        async with opened(url_of(mosquitto, int(proxy.url.rpartition(":")[2]))) as home:
            await reader.until(lambda seen: seen.of(topic) == [b"online"])
            await home.worker().register()
            await home.submit()
            await reader.until(lambda seen: seen.of(topic) == [b"online", b"offline", b"online"])
        await reader.until(lambda seen: seen.of(topic)[-1] == b"offline")


async def test_a_broker_that_is_killed_and_comes_back_misses_no_end(
    opened: Opened, mosquitto: MosquittoServer, prefix: str, told: Told
) -> None:
    async with opened() as home:
        worker = home.worker()
        await worker.register()
        before = await home.run_one(worker)
        topic = f"{prefix}/jobs/{before['id']}/state"
        async with reading(mosquitto, topic) as reader:
            await reader.until(lambda seen: types(seen, topic)[-1:] == ["completed"])
        mosquitto.kill9()
        try:
            meanwhile = [await home.run_one(worker) for _ in range(5)]
            assert {job["state"] for job in meanwhile} == {"completed"}
        finally:
            mosquitto.start()
        after = await home.run_one(worker)
        # Not the first one: mosquitto writes down what it has acknowledged a moment later.
        ids = [job["id"] for job in (*meanwhile, after)]
        async with reading(mosquitto, f"{prefix}/jobs/#") as reader:
            topics = [f"{prefix}/jobs/{job_id}/state" for job_id in ids]
            await reader.until(lambda seen: all(types(seen, one)[-1:] == ["completed"] for one in topics))
            for one in topics:
                seqs = [checked_event(body)["seq"] for body in reader.of(one)]
                assert seqs == sorted(seqs)
    assert [event["door"] for event in told.of("door.lost")][:1] == ["mqtt"]
    assert len(told.of("door.connected")) == 2


async def test_a_wrong_password_is_told_once_with_the_fix_and_http_goes_on(
    opened: Opened, mosquitto: MosquittoServer, told: Told
) -> None:
    async with opened(f"mqtt://{USER}:guessed@127.0.0.1:{mosquitto.port}") as home:
        worker = home.worker()
        await worker.register()
        job = await home.run_one(worker)
        assert job["state"] == "completed"
        async with asyncio.timeout(20):
            while not told.of("delivery.failed"):
                await asyncio.sleep(0.01)
    (lost,) = told.of("door.lost")
    assert "check user and password in mqtt.url" in lost["error"]
    assert "guessed" not in str(told.events)
