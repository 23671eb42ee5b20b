"""Retry and warm-up: for those with permission, not too often, and never twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp
from tests.unit.web.callers import BOUND_SECONDS, Loader, asking

from glowplug.clock import ManualClock
from glowplug.errors import Draining, Forbidden
from glowplug.readiness import Board, Component
from glowplug.readiness.warm_up import WarmUp
from glowplug.web.actions import RETRY_SECONDS
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import local_only
from glowplug.web.routes import readiness_routes

RETRY, WARM_UP = "/api/ready/retry", "/api/warmup"


@pytest.fixture
def app(board: Board, loader: Loader, clock: ManualClock) -> ASGIApp:
    return Starlette(routes=readiness_routes(ReadinessParts(own=board, actions=loader, clock=clock)))


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_retry_loads_all_that_failed_and_nothing_else(
    app: ASGIApp, board: Board, tts: Component, loader: Loader
) -> None:
    tts.fail("Out of memory")
    board.add("chat").ready()
    board.add("stt", required=False).fail("no microphone")
    board.add("ocr", required=False).unavailable()
    async with asking(app) as client:
        answer = await client.post(RETRY)
    assert (answer.status_code, answer.json()) == (202, {"retried": ["tts", "stt"]})
    assert loader.asked == [("tts", "stt")]


async def test_one_component_can_be_retried_alone(app: ASGIApp, board: Board, tts: Component, loader: Loader) -> None:
    tts.fail("Out of memory")
    board.add("chat").fail("no server")
    async with asking(app) as client:
        assert (await client.post(f"{RETRY}/chat")).json() == {"retried": ["chat"]}
    assert loader.asked == [("chat",)]


async def test_with_nothing_failed_there_is_nothing_to_retry(app: ASGIApp, tts: Component, loader: Loader) -> None:
    async with asking(app) as client:
        assert_problem(await client.post(RETRY), 409, "conflict")
        assert_problem(await client.post(f"{RETRY}/tts"), 409, "conflict")
        assert_problem(await client.post(f"{RETRY}/tss"), 404, "not_found")
    assert loader.asked == [(), ("tts",), ("tss",)], "those who would do it know best"


async def test_a_button_pressed_again_waits_until_the_load_had_its_time(
    app: ASGIApp, tts: Component, clock: ManualClock, loader: Loader
) -> None:
    async with asking(app) as client:
        for way in (RETRY, f"{RETRY}/tts"):
            tts.fail("Out of memory")
            assert (await client.post(way)).status_code == 202
            tts.fail("Out of memory")
            for again in (RETRY, f"{RETRY}/tts"):
                refused = await client.post(again)
                assert_problem(refused, 429, "rate_limited")
                assert refused.headers["retry-after"] == str(int(RETRY_SECONDS))
            await clock.advance(RETRY_SECONDS)
    assert len(loader.asked) == 2


async def test_a_component_that_waits_holds_back_no_other(
    app: ASGIApp, board: Board, tts: Component, loader: Loader
) -> None:
    tts.fail("Out of memory")
    async with asking(app) as client:
        await client.post(RETRY)
        tts.fail("Out of memory")
        board.add("chat").fail("no server")
        assert (await client.post(RETRY)).json() == {"retried": ["chat"]}


async def test_a_retry_that_could_not_begin_does_not_count(app: ASGIApp, tts: Component) -> None:
    async with asking(app) as client:
        assert_problem(await client.post(f"{RETRY}/tts"), 409, "conflict")
        tts.fail("Out of memory")
        assert (await client.post(f"{RETRY}/tts")).status_code == 202


async def test_of_two_who_press_at_once_one_begins_the_load(app: ASGIApp, tts: Component, loader: Loader) -> None:
    tts.fail("Out of memory")
    async with asking(app) as client, asyncio.timeout(BOUND_SECONDS):
        answers = await asyncio.gather(*[client.post(f"{RETRY}/tts") for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [202, *[429] * 7]
    assert loader.asked == [("tts",)]


async def test_a_warm_up_tells_what_it_took(app: ASGIApp, tts: Component, loader: Loader) -> None:
    tts.ready()
    loader.warmed = [WarmUp("tts", 0.25), WarmUp("chat", None, "no answer")]
    async with asking(app) as client:
        answer = await client.post(WARM_UP)
    assert answer.status_code == 200
    assert answer.json() == {"services": {"tts": {"warmup_time_ms": 250.0}, "chat": {"error": "no answer"}}}


async def test_a_component_that_warms_nothing_has_no_time_to_tell(app: ASGIApp, tts: Component, loader: Loader) -> None:
    tts.ready()
    loader.warmed = [WarmUp("tts", None)]
    async with asking(app) as client:
        assert (await client.post(WARM_UP)).json() == {"services": {"tts": {}}}


async def test_what_is_not_loaded_cannot_be_warmed(app: ASGIApp, tts: Component) -> None:
    async with asking(app) as client:
        assert_problem(await client.post(WARM_UP), 409, "conflict")
        tts.ready()
        assert (await client.post(WARM_UP)).status_code == 200


async def test_one_warm_up_runs_at_a_time(app: ASGIApp, tts: Component, loader: Loader) -> None:
    tts.ready()
    loader.gate.clear()
    async with asking(app) as client, asyncio.timeout(BOUND_SECONDS):
        calls = [asyncio.create_task(client.post(WARM_UP)) for _ in range(3)]
        done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        while len(running) > 1:
            more, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for call in done:
            assert_problem(call.result(), 409, "conflict")
        loader.gate.set()
        assert (await running.pop()).status_code == 200


async def test_who_leaves_in_the_middle_of_a_warm_up_locks_nobody_out(
    app: ASGIApp, tts: Component, loader: Loader
) -> None:
    tts.ready()
    loader.gate.clear()
    async with asking(app) as client, asyncio.timeout(BOUND_SECONDS):
        left = asyncio.create_task(client.post(WARM_UP))
        await loader.begun.wait()
        left.cancel()
        await asyncio.wait([left])
        loader.gate.set()
        assert (await client.post(WARM_UP)).status_code == 200


@pytest.mark.parametrize("path", [RETRY, f"{RETRY}/tts", WARM_UP])
async def test_nothing_begins_without_permission(board: Board, tts: Component, loader: Loader, path: str) -> None:
    tts.fail("Out of memory")
    parts = ReadinessParts(own=board, actions=loader, permit=local_only("s3cret"))
    async with asking(Starlette(routes=readiness_routes(parts))) as client:
        refused = await client.post(path)
        assert_problem(refused, 401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert (await client.post(path, headers={"authorization": "Bearer s3cret"})).status_code in (202, 409)
    assert all(asked == ("tts",) for asked in loader.asked)


@pytest.mark.parametrize("path", [RETRY, f"{RETRY}/tts", f"{RETRY}/unknown", WARM_UP])
async def test_a_page_of_another_site_learns_nothing(app: ASGIApp, tts: Component, loader: Loader, path: str) -> None:
    tts.fail("Out of memory")
    async with asking(app) as client:
        refused = await client.post(path, headers={"origin": "https://evil.example"})
    assert_problem(refused, 403, Forbidden.code)
    assert "access-control-allow-origin" not in refused.headers
    assert loader.asked == []


async def test_without_actions_their_routes_are_absent(board: Board) -> None:
    async with asking(Starlette(routes=readiness_routes(ReadinessParts(own=board)))) as client:
        assert (await client.post(WARM_UP)).status_code == 404
        assert (await client.post(RETRY)).status_code == 404
        assert {"retry", "warm_up"}.isdisjoint((await client.get("/api/ready")).json()["links"])


async def test_actions_are_not_run_by_a_link(app: ASGIApp) -> None:
    async with asking(app) as client:
        assert (await client.get(WARM_UP)).status_code == 405


async def test_a_process_that_leaves_loads_nothing(board: Board, tts: Component, clock: ManualClock) -> None:
    tts.fail("Out of memory")

    class Leaving(Loader):
        async def retry(self, names: Sequence[str]) -> Sequence[str]:
            raise Draining("nothing is loaded any more")

    parts = ReadinessParts(own=board, actions=Leaving(board), clock=clock)
    async with asking(Starlette(routes=readiness_routes(parts))) as client:
        refused = await client.post(RETRY)
        assert_problem(refused, 503, "draining")
        assert refused.headers["retry-after"] == "2"
