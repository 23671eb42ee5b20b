"""A job followed by WebSocket, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import House, policy
from tests.unit.gateway.served import close_of, served, until
from websockets.asyncio.client import ClientConnection, connect

from glowplug.errors import Unreachable
from glowplug.gateway.policy import User
from glowplug.job import Note

ADA, BOB = ({"Authorization": f"Bearer {name}-token"} for name in ("ada", "bob"))
GUARDED = {
    "api_token": "operator-token",
    "users": (User(name="ada", token="ada-token"), User(name="bob", token="bob-token")),
}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with served(tmp_path) as made, asyncio.timeout(60):
        yield made


def socket_of(home: House, job_id: str, query: str = "", **more: Any) -> connect:
    base = str(home.client.base_url).rstrip("/").replace("http", "ws")
    return connect(f"{base}/ws/jobs/{job_id}{query}", **more)


async def heard(socket: ClientConnection) -> list[dict[str, Any]]:
    """Read to the end, which must be a good one."""
    return [json.loads(message) async for message in socket]


async def test_events_arrive_while_the_job_runs_and_it_closes_with_the_last(home: House) -> None:
    worker = await home.ready_worker()
    job = await home.submit()
    async with socket_of(home, job["id"]) as socket:
        assert json.loads(await socket.recv())["type"] == "queued"
        grant = await worker.one()
        assert json.loads(await socket.recv())["type"] == "started"
        await worker.note(grant, Note("progress", {"done": 1, "total": 2}))
        assert json.loads(await socket.recv())["data"] == {"done": 1, "total": 2}
        await worker.finish(grant, {"said": "hello"})
        [last] = await heard(socket)
    assert (last["seq"], last["type"], last["data"]) == (4, "completed", {"result": {"said": "hello"}})
    assert socket.close_code == 1000


async def test_it_goes_on_after_the_seq_that_is_named(home: House) -> None:
    job = await home.run_one(await home.ready_worker())
    async with socket_of(home, job["id"], "?after=2") as socket:
        assert [event["seq"] for event in await heard(socket)] == [3]
    async with socket_of(home, job["id"], "?after=3") as socket:
        assert await heard(socket) == []
    assert socket.close_code == 1000


@pytest.mark.parametrize(("job_id", "query", "why"), [("none", "", "not_found"), ("none", "?after=x", "invalid_input")])
async def test_what_cannot_be_followed_is_told_in_the_close(home: House, job_id: str, query: str, why: str) -> None:
    async with socket_of(home, job_id, query) as socket:
        assert await close_of(socket) == (1008, why)


async def test_a_user_follows_no_job_of_another(tmp_path: Path) -> None:
    async with served(tmp_path, chosen=policy(access=GUARDED)) as home, asyncio.timeout(60):
        await home.ready_worker()
        job = await home.submit(headers=ADA)
        async with socket_of(home, job["id"], additional_headers=ADA) as socket:
            assert json.loads(await socket.recv())["type"] == "queued"
        async with socket_of(home, job["id"], additional_headers=BOB) as socket:
            assert await close_of(socket) == (1008, "not_found")


async def test_a_gateway_that_leaves_asks_to_come_back(home: House) -> None:
    await home.ready_worker()
    job = await home.submit()
    async with socket_of(home, job["id"]) as socket:
        assert json.loads(await socket.recv())["type"] == "queued"
        home.gateway.hang_up()
        assert (await close_of(socket))[0] == 1001


async def test_a_store_that_does_not_answer_is_no_end_of_the_job(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await home.ready_worker()
    job = await home.submit()

    async def lost(*_: Any, **__: Any) -> None:
        raise Unreachable("the database is gone")

    async with socket_of(home, job["id"]) as socket:
        await socket.recv()
        monkeypatch.setattr(home.gateway.parts.store, "events", lost)
        home.gateway.feed.changed(job["id"])
        assert await close_of(socket) == (1013, "unreachable")


async def test_who_leaves_or_sends_nonsense_leaves_nothing_behind(home: House) -> None:
    await home.ready_worker()
    job = await home.submit()
    channels = home.gateway.feed._channels
    async with socket_of(home, job["id"]) as socket:
        await socket.recv()
        await socket.send("hello?")
        await socket.send(b"\x00" * 1000)
        assert job["id"] in channels
    await until(lambda: job["id"] not in channels)
