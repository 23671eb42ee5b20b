"""Notices to a backend of somebody else's: once per change, until they are taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.runtime.rig import Events

from glowplug import events
from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.readiness import Board
from glowplug.runtime.backoff import Backoff
from glowplug.runtime.notices import NoticeParts, Notices
from glowplug.runtime.policy import WorkerIdentity

IDENTITY = WorkerIdentity(instance_id="w1", incarnation="i1", url="http://here:8000")


class Backend:
    """Notices that go to a list; `away` of them fail first."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = Board(self.clock)
        self.got: list[tuple[str, Mapping[str, Any]]] = []
        self.tried = 0
        self.away = 0
        parts = NoticeParts(self.board, IDENTITY, self.post, self.clock, Backoff(1.0, 60.0, lambda: 1.0))
        self.notices = Notices(parts)

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        self.tried += 1
        if self.away > 0:
            self.away -= 1
            raise Unreachable("nobody there")
        self.got.append((path, body))


@asynccontextmanager
async def backend() -> AsyncIterator[tuple[Backend, Events]]:
    made, seen = Backend(), Events()
    previous = events.set_sink(seen)
    try:
        async with asyncio.timeout(20), made.notices:
            yield made, seen
    finally:
        events.set_sink(previous)


async def test_becoming_ready_is_told_once_with_the_time_that_loading_took() -> None:
    async with backend() as (it, _):
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        await it.clock.advance(12.5)
        assert it.got == []
        component.ready()
        await it.clock.advance(5)
        ((path, body),) = it.got
        assert path == "/api/internal/ai-service-ready"
        timestamp = body["timestamp"]
        assert isinstance(timestamp, float)
        assert body == {
            "instance_id": "w1",
            "status": "ready",
            "model_name": "xtts-v2",
            "timestamp": timestamp,
            "load_time": 12.5,
            "url": "http://here:8000",
        }


async def test_a_failure_is_told_once_and_the_next_failure_again() -> None:
    async with backend() as (it, _):
        component = it.board.add("tts", model="xtts-v2")
        for _ in range(2):
            component.begin()
            component.fail("Out of memory")
            await it.clock.advance(1)
            it.board.publish()
            await it.clock.advance(1)
        assert [path for path, _ in it.got] == ["/api/internal/ai-service-error"] * 2
        body = it.got[0][1]
        assert body["error"] == "TTS initialization failed: Out of memory"
        assert body["status"] == "error"


async def test_an_optional_failure_tells_nothing_while_the_rest_is_ready() -> None:
    async with backend() as (it, _):
        chat = it.board.add("chat", model="llama")
        stt = it.board.add("stt", required=False)
        chat.begin()
        chat.ready()
        await it.clock.advance(1)
        stt.begin()
        stt.fail("no microphone")
        await it.clock.advance(1)
        assert [path for path, _ in it.got] == ["/api/internal/ai-service-ready"] * 2


async def test_a_backend_that_is_away_is_one_warning_and_gets_the_notice_later() -> None:
    async with backend() as (it, seen):
        it.away = 3
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        component.ready()
        await it.clock.advance(6.9)
        assert it.got == []
        await it.clock.advance(0.2)
        assert len(it.got) == 1
        assert seen.names().count("notice.failed") == 1


async def test_a_notice_that_is_out_of_date_is_not_sent_any_more() -> None:
    async with backend() as (it, _):
        it.away = 2
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        component.ready()
        await it.clock.advance(0.5)
        component.fail("crashed")
        await it.clock.advance(10)
        assert [path for path, _ in it.got] == ["/api/internal/ai-service-error"]


async def test_a_worker_that_leaves_tells_nothing() -> None:
    async with backend() as (it, _):
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        component.ready()
        await it.clock.advance(1)
        it.board.drain()
        await it.clock.advance(1)
        assert len(it.got) == 1


async def test_one_may_wait_until_the_backend_knows_how_the_board_stands() -> None:
    async with backend() as (it, _):
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        component.fail("Out of memory")
        await it.notices.delivered()
        assert [path for path, _ in it.got] == ["/api/internal/ai-service-error"]


async def test_whoever_waits_for_a_backend_that_is_away_waits_until_it_is_back() -> None:
    async with backend() as (it, _):
        it.away = 1
        component = it.board.add("tts", model="xtts-v2")
        component.begin()
        component.ready()
        waiting = asyncio.create_task(it.notices.delivered())
        await it.clock.advance(0.5)
        assert not waiting.done()
        await it.clock.advance(1)
        await waiting
        assert len(it.got) == 1


async def test_with_nothing_to_tell_nobody_waits() -> None:
    async with backend() as (it, _):
        it.board.add("tts", model="xtts-v2").begin()
        await it.notices.delivered()
        assert it.got == []
