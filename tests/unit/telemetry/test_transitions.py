"""A board's transitions, told as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.clock import ManualClock
from glowplug.events import EventSpec, set_sink
from glowplug.readiness import Board
from glowplug.readiness.component_snapshot import ErrorClass, Failure
from glowplug.readiness.spec import Transition
from glowplug.telemetry import BoardEvents

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    heard: Told = []

    def sink(spec: EventSpec, fields: dict[str, Any]) -> None:
        heard.append((spec.name, fields))

    former = set_sink(sink)
    yield heard
    set_sink(former)


def named(told: Told, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in told if event == name]


def test_each_change_is_told_with_how_long_the_old_state_lasted(told: Told) -> None:
    BoardEvents()(Transition("tts", "pending", "loading", 1.23456, 1))
    assert told == [
        ("component.transition", {"component": "tts", "state": "loading", "previous": "pending", "seconds": 1.235})
    ]


def test_the_whole_board_has_a_name_of_its_own(told: Told) -> None:
    BoardEvents()(Transition("", "LOADING_MODELS", "READY", 3.0))
    assert told[0][1]["component"] == "all"
    assert named(told, "component.ready") == []


def test_ready_tells_the_time_of_all_stages_of_the_load(told: Told) -> None:
    events = BoardEvents()
    for old, new, seconds in [
        ("pending", "fetching", 9.0),
        ("fetching", "loading", 2.0),
        ("loading", "warming", 3.0),
        ("warming", "ready", 0.5),
    ]:
        events(Transition("tts", old, new, seconds, 1))
    assert named(told, "component.ready") == [{"component": "tts", "load_seconds": 5.0, "warmup_seconds": 0.5}]


def test_a_load_without_warm_up_is_ready_too(told: Told) -> None:
    events = BoardEvents()
    events(Transition("tts", "loading", "ready", 3.0, 1))
    assert named(told, "component.ready") == [{"component": "tts", "load_seconds": 3.0, "warmup_seconds": 0.0}]


def test_the_time_of_an_attempt_that_failed_does_not_count_for_the_next(told: Told) -> None:
    events = BoardEvents()
    failure = Failure("no weights", ErrorClass.TRANSIENT, retryable=True)
    events(Transition("tts", "loading", "error", 50.0, 1, failure))
    events(Transition("tts", "error", "loading", 1.0, 2))
    events(Transition("tts", "loading", "ready", 3.0, 2))
    assert named(told, "component.failed") == [
        {"component": "tts", "error": "no weights", "error_class": "transient", "attempt": 1}
    ]
    assert named(told, "component.ready")[0]["load_seconds"] == 3.0


def test_a_failure_without_a_reason_is_told_all_the_same(told: Told) -> None:
    BoardEvents()(Transition("tts", "loading", "error", 1.0, 1))
    assert named(told, "component.failed")[0]["error"] == "unknown"


def test_components_do_not_share_their_times(told: Told) -> None:
    events = BoardEvents()
    events(Transition("a", "loading", "warming", 10.0, 1))
    events(Transition("b", "loading", "ready", 1.0, 1))
    assert named(told, "component.ready") == [{"component": "b", "load_seconds": 1.0, "warmup_seconds": 0.0}]


async def test_a_real_board_tells_a_load_from_begin_to_ready(told: Told) -> None:
    clock = ManualClock()
    board = Board(clock, on_transition=BoardEvents())
    component = board.add("tts")
    component.begin()
    await clock.advance(4.0)
    component.ready()
    assert named(told, "component.ready") == [{"component": "tts", "load_seconds": 4.0, "warmup_seconds": 0.0}]
    assert named(told, "component.transition")[-1]["state"] == "READY"
