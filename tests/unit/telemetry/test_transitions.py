"""A board's transitions, told as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import ManualClock
from glowplug.events import EventSpec, set_sink
from glowplug.readiness import Board
from glowplug.readiness.component_snapshot import ErrorClass, Failure
from glowplug.readiness.history import Load
from glowplug.readiness.progress import Stage
from glowplug.readiness.spec import Transition
from glowplug.telemetry import BoardEvents
from glowplug.telemetry.transitions import MOST_PHASES

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


def test_ready_tells_the_phases_of_the_load_and_their_sum(told: Told) -> None:
    load = Load((("start", 0.5), ("fetch", 9.0), ("read", 2.0), ("warm up", 0.5)))
    BoardEvents()(Transition("tts", "warming", "ready", 0.5, 1, load=load))
    assert [(fields["phase"], fields["seconds"]) for fields in named(told, "component.phase")] == [
        ("start", 0.5),
        ("fetch", 9.0),
        ("read", 2.0),
        ("warm up", 0.5),
    ]
    assert named(told, "component.ready") == [
        {"component": "tts", "load_seconds": 11.5, "warmup_seconds": 0.5, "total_seconds": 12.0}
    ]


def test_a_load_without_warm_up_is_ready_too(told: Told) -> None:
    BoardEvents()(Transition("tts", "loading", "ready", 3.0, 1, load=Load((("start", 3.0),))))
    assert named(told, "component.ready") == [
        {"component": "tts", "load_seconds": 3.0, "warmup_seconds": 0.0, "total_seconds": 3.0}
    ]


def test_a_server_that_is_back_was_not_loaded(told: Told) -> None:
    BoardEvents()(Transition("ollama", "loading", "ready", 3.0, 2))
    assert named(told, "component.phase") == []
    assert named(told, "component.ready")[0]["total_seconds"] is None


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(0, 4000)), max_size=60))
def test_phases_make_the_total_to_the_last_digit_and_stay_few(stages: list[tuple[str, float]]) -> None:
    heard: Told = []
    former = set_sink(lambda spec, fields: heard.append((spec.name, fields)))
    try:
        BoardEvents()(Transition("tts", "loading", "ready", 1.0, 1, load=Load(tuple(dict(stages).items()))))
    finally:
        set_sink(former)
    phases = [fields["seconds"] for fields in named(heard, "component.phase")]
    assert len(phases) <= MOST_PHASES
    assert named(heard, "component.ready")[0]["total_seconds"] == round(sum(phases), 3)


def test_the_longest_phases_and_the_warm_up_are_told_by_name(told: Told) -> None:
    stages = (*((f"shard {number}", float(number)) for number in range(1, 31)), ("warm up", 0.1))
    BoardEvents()(Transition("tts", "warming", "ready", 0.1, 1, load=Load(stages)))
    phases = {fields["phase"]: fields["seconds"] for fields in named(told, "component.phase")}
    assert phases["warm up"] == 0.1
    assert phases["shard 30"] == 30.0
    assert phases["other"] == pytest.approx(sum(range(1, 13)))
    assert sum(phases.values()) == pytest.approx(sum(seconds for _, seconds in stages))


def test_a_failure_is_told_with_its_class_and_attempt(told: Told) -> None:
    failure = Failure("no weights", ErrorClass.TRANSIENT, retryable=True)
    BoardEvents()(Transition("tts", "loading", "error", 50.0, 1, failure))
    assert named(told, "component.failed") == [
        {"component": "tts", "error": "no weights", "error_class": "transient", "attempt": 1}
    ]


def test_a_failure_that_is_tried_again_by_itself_is_a_failure_too(told: Told) -> None:
    failure = Failure("no weights", ErrorClass.TRANSIENT, retryable=True)
    BoardEvents()(Transition("tts", "loading", "pending", 50.0, 2, failure))
    assert named(told, "component.failed")[0]["attempt"] == 2


def test_waiting_for_a_first_attempt_is_no_failure(told: Told) -> None:
    BoardEvents()(Transition("tts", "sleeping", "pending", 50.0, 2))
    assert named(told, "component.failed") == []


@pytest.mark.parametrize("new", ["error", "pending"])
def test_a_component_that_was_ready_is_lost_and_no_load_has_failed(told: Told, new: str) -> None:
    BoardEvents()(Transition("ollama", "ready", new, 50.0, 1, Failure("connection refused")))
    assert named(told, "component.failed") == []
    assert named(told, "component.lost") == [{"component": "ollama", "error": "connection refused"}]


def test_a_failure_without_a_reason_is_told_all_the_same(told: Told) -> None:
    BoardEvents()(Transition("tts", "loading", "error", 1.0, 1))
    assert named(told, "component.failed")[0]["error"] == "unknown"


def phases_of(told: Told, component: str) -> dict[str, float]:
    return {
        fields["phase"]: fields["seconds"]
        for fields in named(told, "component.phase")
        if fields["component"] == component
    }


async def test_on_a_real_board_a_stage_that_is_entered_twice_is_one_phase(told: Told) -> None:
    clock = ManualClock()
    component = Board(clock, on_transition=BoardEvents()).add("tts")
    component.begin()
    for stage, seconds in [("fetch", 1.0), ("read", 2.0), ("fetch", 4.0), ("read", 8.0), (Stage.WARM_UP, 0.25)]:
        component.stage(stage)
        await clock.advance(seconds)
    component.ready()
    assert phases_of(told, "tts") == {"start": 0.0, "fetch": 5.0, "read": 10.0, "warm up": 0.25}
    assert named(told, "component.ready") == [
        {"component": "tts", "load_seconds": 15.0, "warmup_seconds": 0.25, "total_seconds": 15.25}
    ]


async def test_on_a_real_board_only_the_attempt_that_succeeded_is_told(told: Told) -> None:
    clock = ManualClock()
    board = Board(clock, on_transition=BoardEvents())
    component = board.add("tts")
    for failed in (50.0, 60.0):
        component.begin()
        component.stage("read")
        await clock.advance(failed)
        component.fail("no memory", ErrorClass.OUT_OF_MEMORY)
        await clock.advance(5.0)
    component.begin()
    await clock.advance(1.0)
    component.stage("read")
    await clock.advance(3.0)
    component.ready()
    assert phases_of(told, "tts") == {"start": 1.0, "read": 3.0}
    assert [fields["error_class"] for fields in named(told, "component.failed")] == ["out_of_memory"] * 2
    assert named(told, "component.ready")[0]["total_seconds"] == 4.0
    assert named(told, "component.transition")[-1]["state"] == "READY"


async def test_on_a_real_board_a_load_that_comes_late_counts_whole(told: Told) -> None:
    clock = ManualClock()
    component = Board(clock, on_transition=BoardEvents()).add("tts")
    attempt = component.begin()
    component.stage("read")
    await clock.advance(10.0)
    component.fail("too slow", ErrorClass.STALLED)
    await clock.advance(2.0)
    component.ready(attempt=attempt)
    assert phases_of(told, "tts") == {"start": 0.0, "read": 12.0}


async def test_on_a_real_board_components_do_not_share_their_phases(told: Told) -> None:
    clock = ManualClock()
    board = Board(clock, on_transition=BoardEvents())
    one, other = board.add("a"), board.add("b")
    one.begin()
    await clock.advance(1.0)
    other.begin()
    await clock.advance(2.0)
    other.ready()
    one.ready()
    assert phases_of(told, "a") == {"start": 3.0}
    assert phases_of(told, "b") == {"start": 2.0}


async def test_on_a_real_board_a_server_that_was_lost_and_is_back_is_told_once_each(told: Told) -> None:
    clock = ManualClock()
    component = Board(clock, on_transition=BoardEvents()).add("ollama")
    component.begin()
    component.ready()
    for _ in range(3):
        component.fail("connection refused", ErrorClass.TRANSIENT)
    await clock.advance(7.0)
    component.ready()
    assert len(named(told, "component.lost")) == 1
    assert named(told, "component.ready")[-1]["total_seconds"] is None
