"""The streams: the newest picture to everybody, and an end when there is nothing more to say."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from tests.unit.web.callers import BOUND_SECONDS, Reader, asking

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Component
from glowplug.web.frames import Frames
from glowplug.web.parts import ReadinessParts
from glowplug.web.routes import readiness_routes
from glowplug.web.streams import HEARTBEAT, Rhythm, Streams

STREAM, SOCKET = "/api/ready/stream", "/ws/init/page-1"
NEVER = Rhythm(heartbeat_seconds=600, pulse_seconds=600)
OFTEN = Rhythm(heartbeat_seconds=0.005, pulse_seconds=0.005)


def app(board: Board, rhythm: Rhythm = NEVER, models: Board | None = None) -> ASGIApp:
    parts = ReadinessParts(own=board, models=models, clock=ManualClock())
    streams = Streams(parts, Frames(parts.told, {}, parts.clock), rhythm)
    return Starlette(routes=[Route(STREAM, streams.events), WebSocketRoute("/ws/init/{client_id}", streams.socket)])


def events(board: Board, rhythm: Rhythm = NEVER, models: Board | None = None, **headers: str) -> Reader:
    return Reader(app(board, rhythm, models), STREAM, **headers)


def socket(board: Board, rhythm: Rhythm = NEVER, models: Board | None = None) -> Reader:
    return Reader(app(board, rhythm, models), SOCKET, kind="websocket")


async def test_a_reader_gets_the_present_at_once_and_each_change_as_it_comes(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as reader:
        head = await reader.next()
        assert (head["status"], dict(head["headers"])[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
        first = await reader.chunk()
        assert first.startswith(b"retry: 1000\n\nid: ")
        for stage in ("import", "read", "to device"):
            tts.stage(stage)
            assert (await reader.event())["services"]["tts"]["stage"] == stage


async def test_a_stream_is_kept_by_nobody_and_read_from_any_origin(board: Board, tts: Component) -> None:
    async with events(board) as reader:
        headers = dict((await reader.next())["headers"])
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    assert headers[b"access-control-allow-origin"] == b"*"


async def test_a_stream_ends_once_ready_and_the_last_event_says_so(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as reader:
        await reader.next()
        await reader.event()
        tts.ready()
        assert (await reader.event())["state"] == "READY"
        assert await reader.next() == {"type": "http.response.body", "body": b"", "more_body": False}
        await reader.ended()


async def test_a_stream_ends_when_a_load_has_failed(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as reader:
        await reader.next()
        await reader.event()
        tts.fail("Out of memory")
        assert (await reader.event())["errors"] == ["TTS initialization failed: Out of memory"]
        await reader.ended()


async def test_a_stream_ends_when_the_process_drains(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as reader:
        await reader.next()
        await reader.event()
        board.drain()
        assert (await reader.event())["state"] == "DRAINING"
        await reader.ended()


async def test_streams_end_when_the_server_hangs_up_whatever_the_board_says(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as reader, socket(board) as page:
        await reader.next()
        await reader.event()
        await page.next()
        await page.text()
        board.hang_up()
        assert await reader.next() == {"type": "http.response.body", "body": b"", "more_body": False}
        assert (await page.next())["code"] == 1001
        await reader.ended()
        await page.ended()


async def test_on_a_gateway_the_stream_follows_the_models_and_not_the_gateway(board: Board, tts: Component) -> None:
    models = Board(ManualClock())
    echo = models.add("echo", model="echo")
    echo.begin()
    async with events(board, models=models) as reader:
        await reader.next()
        assert list((await reader.event())["services"]) == ["echo"]
        tts.ready()
        echo.stage("read")
        assert (await reader.event())["services"]["echo"]["stage"] == "read"


@pytest.mark.parametrize("way", ["drain", "hang_up"])
async def test_on_a_gateway_streams_end_when_the_gateway_itself_leaves(board: Board, tts: Component, way: str) -> None:
    tts.ready()
    models = Board(ManualClock())
    models.add("echo", model="echo").begin()
    async with events(board, models=models) as reader, socket(board, models=models) as page:
        await reader.next()
        await reader.event()
        await page.next()
        await page.text()
        board.drain() if way == "drain" else board.hang_up()
        await reader.ended()
        assert (await page.next())["code"] == 1001
        await page.ended()


async def test_at_a_gateway_that_has_left_a_stream_says_one_thing_and_ends(board: Board, tts: Component) -> None:
    tts.ready()
    board.drain()
    models = Board(ManualClock())
    models.add("echo", model="echo").begin()
    async with events(board, models=models) as reader:
        await reader.next()
        assert (await reader.event())["state"] == "LOADING_MODELS"
        await reader.ended()


async def test_a_reader_who_has_the_last_event_is_told_not_to_come_back(board: Board, tts: Component) -> None:
    tts.ready()
    async with events(board, last_event_id=str(board.version)) as reader:
        assert (await reader.next())["status"] == 204
    tts.begin()
    async with events(board, last_event_id=str(board.version)) as reader:
        assert (await reader.next())["status"] == 200
        await reader.event()


@pytest.mark.parametrize("known", ["", "0", "not a number", "9" * 400])
async def test_any_other_id_gets_the_present(board: Board, tts: Component, known: str) -> None:
    tts.ready()
    async with events(board, last_event_id=known) as reader:
        assert (await reader.next())["status"] == 200
        assert (await reader.event())["ready"]
        await reader.ended()


async def test_a_reader_of_a_server_that_drains_may_come_back_to_the_next(board: Board, tts: Component) -> None:
    board.drain()
    async with events(board, last_event_id=str(board.version)) as reader:
        assert (await reader.next())["status"] == 200


async def test_without_news_there_are_heartbeats(board: Board, tts: Component) -> None:
    async with events(board, OFTEN) as reader:
        await reader.next()
        await reader.chunk()
        assert [await reader.chunk() for _ in range(3)] == [HEARTBEAT] * 3
        tts.stage("read")
        assert (await reader.event())["services"]["tts"]["stage"] == "read"


async def test_a_reader_that_leaves_is_let_go_at_once(board: Board, tts: Component) -> None:
    async with events(board) as reader, socket(board) as page:
        await reader.next()
        await reader.chunk()
        await page.next()
        await page.text()
        for one in (reader, page):
            one.leave()
            await one.ended()
            assert one.unread() == []


async def test_a_head_request_gets_no_stream(board: Board, tts: Component) -> None:
    async with Reader(app(board), STREAM, method="HEAD") as reader:
        assert (await reader.next())["status"] == 200
        assert await reader.next() == {"type": "http.response.body"}
        await reader.ended()


async def test_a_slow_reader_skips_to_the_newest_and_holds_up_nobody(board: Board, tts: Component) -> None:
    tts.begin()
    async with events(board) as slow, socket(board) as slow_page, events(board) as quick:
        for one in (slow, slow_page, quick):
            await one.next()
        await slow.event()
        await slow_page.text()
        await quick.event()
        slow.reading.clear()
        slow_page.reading.clear()
        for step in range(200):
            tts.stage(f"step {step}")
            assert (await quick.event())["services"]["tts"]["stage"] == f"step {step}"
        tts.ready()
        slow.reading.set()
        slow_page.reading.set()
        await slow.ended()
        await slow_page.ended()
        stages = [chunk["body"] for chunk in slow.unread() if chunk["body"]]
        assert len(stages) <= 2, "one was on its way, and then the newest"
        assert b'"READY"' in stages[-1]
        assert len(slow_page.unread()) <= 3
        assert (slow.most_pending, slow_page.most_pending) == (1, 1)


async def test_a_crowd_is_told_by_one_encoding(board: Board, tts: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    tts.begin()
    made = []
    encode = Frames._made
    monkeypatch.setattr(Frames, "_made", lambda *all_of_it: made.append(1) or encode(*all_of_it))
    crowded = app(board)
    async with AsyncExitStack() as life:
        crowd = [await life.enter_async_context(Reader(crowded, STREAM)) for _ in range(50)]
        crowd += [await life.enter_async_context(Reader(crowded, SOCKET, kind="websocket")) for _ in range(50)]
        for one in crowd:
            await one.next()
            await one.next()
        before = len(made)
        tts.stage("read")
        bodies = {(await one.next()).get("body") for one in crowd[:50]}
        texts = {(await one.next()).get("text") for one in crowd[50:]}
    assert (len(bodies), len(texts), len(made) - before) == (1, 1, 1)


async def test_a_page_is_told_at_once_on_each_change_and_closed_normally_once_ready(
    board: Board, tts: Component
) -> None:
    tts.begin()
    async with socket(board) as page:
        assert (await page.next())["type"] == "websocket.accept"
        first = await page.text()
        assert (first["phase"], first["estimated_seconds"]) == ("loading", None)
        tts.warming()
        assert (await page.text())["phase"] == "finalizing"
        tts.ready()
        last = await page.text()
        assert (last["phase"], last["progress"]) == ("ready", 100)
        assert (await page.next())["code"] == 1000
        await page.ended()


async def test_a_page_is_closed_normally_after_an_error_too(board: Board, tts: Component) -> None:
    tts.fail("Out of memory")
    async with socket(board) as page:
        await page.next()
        assert (await page.text())["phase"] == "error"
        assert (await page.next())["code"] == 1000
        await page.ended()


async def test_a_page_of_a_draining_server_is_sent_elsewhere(board: Board, tts: Component) -> None:
    board.drain()
    async with socket(board) as page:
        await page.next()
        assert (await page.text())["phase"] == "connecting"
        assert (await page.next())["code"] == 1001


async def test_a_page_is_told_again_each_second(board: Board, tts: Component) -> None:
    tts.begin()
    async with socket(board, OFTEN) as page:
        await page.next()
        assert [(await page.text())["phase"] for _ in range(4)] == ["loading"] * 4


async def test_what_a_page_says_is_dropped(board: Board, tts: Component) -> None:
    async with socket(board) as page:
        await page.next()
        await page.text()
        for text in ("hello", "x" * 100_000, "{}"):
            page.say({"type": "websocket.receive", "text": text})
        tts.begin()
        assert (await page.text())["phase"] == "loading"


async def test_a_reader_that_breaks_away_while_it_is_told_is_no_error(board: Board, tts: Component) -> None:
    tts.begin()

    async def broken(message: object) -> None:
        raise OSError("connection reset")

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    scope = {"type": "http", "method": "GET", "path": STREAM, "headers": []}
    sent = []

    async def breaking(message: dict[str, object]) -> None:
        sent.append(message)
        if len(sent) > 1:
            await broken(message)

    async with asyncio.timeout(BOUND_SECONDS):
        await app(board)(scope, receive, breaking)
        await app(board)({**scope, "type": "websocket", "path": SOCKET, "subprotocols": []}, receive, breaking)
    assert sent


async def test_streams_are_served_where_they_are_documented(board: Board, tts: Component) -> None:
    tts.ready()
    mounted = Starlette(routes=readiness_routes(ReadinessParts(own=board)))
    async with asking(mounted) as client:
        answer = await client.get(STREAM)
        lines = answer.text.splitlines()
        assert lines[2] == f"id: {board.version}"
        assert '"links":{"self":"ready","stream":"ready/stream"' in lines[3]
        again = await client.get(STREAM, headers={"last-event-id": lines[2].removeprefix("id: ")})
        assert again.status_code == 204
