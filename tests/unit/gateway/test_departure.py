"""Clients that hang up while they wait."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from glowplug.gateway import departure
from glowplug.gateway.departure import Departure, while_present

BOUND = 20


class Client:
    """The client's end of a request whose body has been read."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.watched = asyncio.Event()

    async def receive(self) -> Message:
        self.watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}

    def request(self) -> Request:
        return Request({"type": "http", "headers": []}, self.receive)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.0)


async def test_work_for_a_client_who_stays_is_done() -> None:
    client = Client()

    async def work() -> int:
        await client.watched.wait()
        return 7

    async with asyncio.timeout(BOUND):
        assert await while_present(client.request(), work()) == 7


async def test_work_for_a_client_who_hangs_up_is_canceled() -> None:
    client, canceled = Client(), asyncio.Event()

    async def work() -> str:
        await client.watched.wait()
        client.left.set()
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()
        return "never"

    async with asyncio.timeout(BOUND):
        assert await while_present(client.request(), work()) is None
    assert canceled.is_set()


async def test_what_was_done_before_the_client_hung_up_is_returned() -> None:
    client = Client()

    async def work() -> str:
        await client.watched.wait()
        client.left.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done after all"
        return "never"

    async with asyncio.timeout(BOUND):
        assert await while_present(client.request(), work()) == "done after all"


async def test_an_error_of_the_work_is_the_callers() -> None:
    async def work() -> None:
        raise LookupError("broken")

    async with asyncio.timeout(BOUND):
        with pytest.raises(LookupError):
            await while_present(Client().request(), work())


async def test_a_waiter_that_is_canceled_cancels_the_work() -> None:
    client, ended = Client(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(BOUND):
        waiting = asyncio.create_task(while_present(client.request(), work()))
        await client.watched.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await ended.wait()


async def test_short_requests_are_not_watched_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 60.0)
    client, told = Client(), list[bool]()
    with Departure(client.request(), lambda: told.append(True)) as watch:
        await asyncio.sleep(0)
    assert (client.watched.is_set(), watch.gone, told) == (False, False, [])


async def test_after_the_request_nobody_is_told_any_more() -> None:
    client, told = Client(), list[bool]()
    async with asyncio.timeout(BOUND):
        with Departure(client.request(), lambda: told.append(True)):
            await client.watched.wait()
        client.left.set()
        await asyncio.sleep(0)
    assert told == []
