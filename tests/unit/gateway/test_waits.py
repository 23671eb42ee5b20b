"""Waiting for the first of several, and noticing that a client has gone."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from tests.unit.gateway.house import settle

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.gateway import departure
from glowplug.gateway.departure import Departure, while_present
from glowplug.gateway.waits import first_of, woken


async def never() -> None:
    await asyncio.Event().wait()


async def broken(error: Exception) -> None:
    raise error


class TestFirstOf:
    async def test_the_first_end_ends_the_wait_and_the_others(self) -> None:
        ended = asyncio.Event()

        async def other() -> None:
            try:
                await never()
            finally:
                ended.set()

        async with asyncio.timeout(20):
            await first_of(asyncio.sleep(0), other())
            await ended.wait()

    async def test_a_remote_error_is_an_end_like_any_other(self) -> None:
        async with asyncio.timeout(20):
            await first_of(broken(Unreachable("no broker")), never())

    async def test_any_other_error_is_raised(self) -> None:
        async with asyncio.timeout(20):
            with pytest.raises(ValueError, match="ours"):
                await first_of(broken(ValueError("ours")), never())

    async def test_whoever_is_canceled_cancels_what_it_waits_for(self) -> None:
        ended = asyncio.Event()

        async def other() -> None:
            try:
                await never()
            finally:
                ended.set()

        waiting = asyncio.create_task(first_of(other()))
        await settle()
        waiting.cancel()
        async with asyncio.timeout(20):
            await ended.wait()


class TestWoken:
    async def test_the_bell_wakes(self) -> None:
        bell = asyncio.Event()
        waiting = asyncio.create_task(woken(bell, ManualClock(), 60))
        await settle()
        bell.set()
        async with asyncio.timeout(20):
            assert await waiting

    async def test_so_does_the_clock_but_it_is_told_apart(self) -> None:
        clock = ManualClock()
        waiting = asyncio.create_task(woken(asyncio.Event(), clock, 60))
        await settle()
        await clock.advance(60)
        async with asyncio.timeout(20):
            assert not await waiting

    async def test_a_bell_that_rang_before_is_not_missed(self) -> None:
        bell = asyncio.Event()
        bell.set()
        assert await woken(bell, ManualClock(), 60)

    async def test_no_time_is_no_wait(self) -> None:
        assert not await woken(asyncio.Event(), ManualClock(), 0)


class Client:
    """The other end of a request, which can hang up."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self.receive)

    async def receive(self) -> dict[str, object]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


class TestDeparture:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0)

    async def test_who_hangs_up_is_noticed(self) -> None:
        client, noticed = Client(), asyncio.Event()
        async with asyncio.timeout(20):
            with Departure(client.request, noticed.set) as seen:
                assert not seen.gone
                client.gone.set()
                await noticed.wait()
                assert seen.gone

    async def test_after_the_answer_nobody_is_watched(self) -> None:
        client, noticed = Client(), asyncio.Event()
        with Departure(client.request, noticed.set):
            await asyncio.sleep(0.01)
        client.gone.set()
        await asyncio.sleep(0.01)
        assert not noticed.is_set()

    async def test_a_short_request_is_never_watched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 60)
        with Departure(Client().request, lambda: None) as seen:
            await asyncio.sleep(0.01)
            assert seen._watch is None

    async def test_work_goes_on_while_the_client_is_there(self) -> None:
        async def work() -> str:
            await asyncio.sleep(0.01)
            return "done"

        assert await while_present(Client().request, work()) == "done"

    async def test_work_for_nobody_is_canceled(self) -> None:
        client, canceled = Client(), asyncio.Event()

        async def work() -> str:
            try:
                await never()
            except asyncio.CancelledError:
                canceled.set()
                raise
            return "never"

        client.gone.set()
        async with asyncio.timeout(20):
            assert await while_present(client.request, work()) is None
            assert canceled.is_set()

    async def test_an_error_of_the_work_is_raised(self) -> None:
        with pytest.raises(ValueError, match="ours"):
            await while_present(Client().request, broken(ValueError("ours")))
