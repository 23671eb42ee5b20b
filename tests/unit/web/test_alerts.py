"""Changes of readiness, told to the outside once each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from glowplug.clock import ManualClock
from glowplug.readiness import Board, ComponentSnapshot, MergedBoard, Snapshot, State, Status
from glowplug.readiness.component_snapshot import Failure
from glowplug.web.alerts import ABSENT, Alerts, change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOUND = 20


class Outbox:
    """What was delivered, and a way to wait for more."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self._news = asyncio.Event()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.events.append(json.loads(json.dumps(event)))
        self._news.set()

    async def holds(self, number: int) -> None:
        while len(self.events) < number:
            self._news.clear()
            await self._news.wait()

    @property
    def steps(self) -> list[tuple[str, str]]:
        return [(event["data"]["previous_state"], event["data"]["state"]) for event in self.events]


@asynccontextmanager
async def watching(clock: ManualClock | None = None) -> AsyncIterator[tuple[Board, Outbox, ManualClock]]:
    clock, outbox = clock or ManualClock(), Outbox()
    board = Board(clock)
    async with asyncio.timeout(BOUND), Alerts(board, outbox, clock, "host-1"):
        await clock.advance(0)
        yield board, outbox, clock


def picture(*components: ComponentSnapshot, draining: bool = False) -> Snapshot:
    return Snapshot.of(components, taken_at=NOW, draining=draining)


def one(status: Status, attempt: int = 1, **facts: Any) -> ComponentSnapshot:
    return ComponentSnapshot("tts", status=status, attempt=attempt, **facts)


async def test_a_load_is_told_from_its_beginning_to_ready() -> None:
    async with watching() as (board, outbox, clock):
        tts = board.add("tts", model="kokoro")
        tts.begin()
        await outbox.holds(1)
        await clock.advance(12.0)
        tts.ready()
        await outbox.holds(2)
    assert outbox.steps == [("INITIALIZING", "LOADING_MODELS"), ("LOADING_MODELS", "READY")]
    event = outbox.events[1]
    assert event["type"] == "readiness.changed"
    assert event["timestamp"] == "2026-01-01T00:00:12.000Z"
    assert event["data"]["instance"] == "host-1"
    assert event["data"]["seconds_in_previous_state"] == 12.0
    assert event["data"]["ready"] is True
    assert event["data"]["components"] == {
        "tts": {
            "status": "ready",
            "previous_status": "loading",
            "required": True,
            "model": "kokoro",
            "load_time_ms": 12000.0,
        }
    }


async def test_a_failure_is_told_with_its_error() -> None:
    async with watching() as (board, outbox, _):
        tts = board.add("tts")
        tts.begin()
        await outbox.holds(1)
        tts.fail("Out of memory", "out_of_memory")
        await outbox.holds(2)
    data = outbox.events[1]["data"]
    assert (data["state"], data["errors"]) == ("ERROR", ["TTS initialization failed: Out of memory"])
    assert data["components"]["tts"]["error"] == "Out of memory"
    assert data["components"]["tts"]["error_class"] == "out_of_memory"


async def test_progress_is_not_told() -> None:
    async with watching() as (board, outbox, clock):
        tts = board.add("tts")
        tts.begin()
        await outbox.holds(1)
        for done in range(10):
            tts.advance(done=done, total=10)
            await clock.advance(1.0)
        tts.stage("read")
        await clock.advance(1.0)
        assert len(outbox.events) == 1


async def test_an_optional_component_is_told_though_the_whole_stays_ready() -> None:
    async with watching() as (board, outbox, _):
        board.add("tts").ready()
        await outbox.holds(1)
        board.add("stt", required=False).fail("no microphone")
        await outbox.holds(2)
    assert outbox.steps[-1] == ("READY", "READY")
    assert list(outbox.events[-1]["data"]["components"]) == ["stt"]


async def test_that_the_process_leaves_is_told_at_the_end() -> None:
    async with watching() as (board, outbox, _):
        board.add("tts").ready()
        await outbox.holds(1)
        board.drain()
    assert outbox.steps[-1] == ("READY", "DRAINING")


async def test_that_the_process_leaves_is_told_though_its_streams_were_ended() -> None:
    async with watching() as (board, outbox, _):
        board.add("tts").ready()
        await outbox.holds(1)
        board.hang_up()
        board.drain()
    assert outbox.steps[-1] == ("READY", "DRAINING")


async def test_what_stands_already_is_told_when_the_watch_begins() -> None:
    clock, outbox = ManualClock(), Outbox()
    board = Board(clock)
    board.add("tts").ready()
    async with asyncio.timeout(BOUND), Alerts(board, outbox, clock):
        await outbox.holds(1)
    assert outbox.steps == [("INITIALIZING", "READY")]
    assert "instance" not in outbox.events[0]["data"]


async def test_nothing_is_told_where_nothing_happens() -> None:
    async with watching() as (_, outbox, clock):
        await clock.advance(3600)
    assert outbox.events == []


async def test_each_state_lasts_as_long_as_it_lasted() -> None:
    async with watching() as (board, outbox, clock):
        await clock.advance(1.0)
        tts = board.add("tts")
        tts.begin()
        await outbox.holds(1)
        await clock.advance(2.0)
        tts.warming()
        await outbox.holds(2)
        await clock.advance(4.0)
        tts.ready()
        await outbox.holds(3)
    assert [event["data"]["seconds_in_previous_state"] for event in outbox.events] == [1.0, 2.0, 4.0]


async def test_it_may_be_started_again() -> None:
    clock, outbox = ManualClock(), Outbox()
    board = Board(clock)
    board.add("tts").ready()
    alerts = Alerts(board, outbox, clock)
    for lives in (1, 2):
        async with asyncio.timeout(BOUND), alerts:
            await outbox.holds(lives)
    assert outbox.steps == [("INITIALIZING", "READY")] * 2


async def test_a_worker_that_is_gone_takes_its_model_along_and_that_is_told() -> None:
    clock, outbox = ManualClock(), Outbox()
    merged, worker = MergedBoard(clock), Board(clock)
    worker.add("tts", model="kokoro").ready()
    worker.add("chat", model="llama").ready()
    other = Board(clock)
    other.add("chat", model="llama").ready()
    async with asyncio.timeout(BOUND), Alerts(merged, outbox, clock):
        merged.report("one", worker.snapshot())
        merged.report("two", other.snapshot())
        await outbox.holds(1)
        merged.forget("one")
        await outbox.holds(2)
    assert outbox.steps[-1] == ("READY", "READY")
    assert outbox.events[-1]["data"]["components"] == {"tts": {"status": ABSENT, "previous_status": "ready"}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (one(Status.LOADING), one(Status.LOADING, attempt=2)),
        (one(Status.READY), one(Status.READY, attempt=2)),
        (one(Status.ERROR), one(Status.ERROR)),
        (one(Status.LOADING), one(Status.FETCHING)),
    ],
)
def test_what_is_no_news_is_not_told(before: ComponentSnapshot, after: ComponentSnapshot) -> None:
    assert change(picture(before), picture(after), 1.0) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (one(Status.ERROR, failure=Failure("no")), one(Status.ERROR, attempt=2, failure=Failure("no"))),
        (one(Status.READY), one(Status.LOADING)),
        (one(Status.READY), one(Status.SLEEPING)),
        (one(Status.WARMING), one(Status.READY)),
    ],
)
def test_what_somebody_may_act_upon_is_told(before: ComponentSnapshot, after: ComponentSnapshot) -> None:
    event = change(picture(before), picture(after), 1.0)
    assert event is not None
    assert event["data"]["components"]["tts"]["previous_status"] == before.status.value


def test_every_change_of_the_whole_is_told() -> None:
    pictures = {
        State.INITIALIZING: picture(),
        State.LOADING_MODELS: picture(one(Status.LOADING)),
        State.WARMING_UP: picture(one(Status.WARMING)),
        State.READY: picture(one(Status.READY)),
        State.ERROR: picture(one(Status.ERROR)),
        State.DRAINING: picture(one(Status.READY), draining=True),
    }
    for old, before in pictures.items():
        for new, after in pictures.items():
            assert (change(before, after, 1.0) is not None) == (old is not new)
