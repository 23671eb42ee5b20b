"""Past loads as values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import Corrupt
from glowplug.readiness.history import (
    KEPT_LOADS,
    MOST_VISITS,
    History,
    Load,
    MemoryHistories,
    history_key,
    stage_of,
    visit_name,
)

loads = st.lists(st.tuples(st.text(max_size=10), st.floats(0, 1e4)), max_size=5).map(lambda s: Load(tuple(s)))


def test_a_load_lasts_as_long_as_its_stages() -> None:
    assert Load((("import", 2.0), ("read", 3.5))).seconds == 5.5


def test_a_history_is_a_value_that_adding_leaves_alone() -> None:
    empty = History()
    one = empty.with_load(Load((("read", 1.0),)))
    assert empty.loads == ()
    assert len(one.loads) == 1


def test_only_the_last_twenty_loads_are_kept() -> None:
    history = History()
    for number in range(KEPT_LOADS + 7):
        history = history.with_load(Load((("read", float(number)),)))
    assert [load.seconds for load in history.loads] == [float(number) for number in range(7, KEPT_LOADS + 7)]


@given(st.lists(loads, max_size=25))
def test_a_history_survives_json(past: list[Load]) -> None:
    history = History()
    for load in past:
        history = history.with_load(load)
    read = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert [[name for name, _ in load.stages] for load in read.loads] == [
        [name for name, _ in load.stages] for load in history.loads
    ]
    for before, after in zip(history.loads, read.loads, strict=True):
        assert after.seconds == pytest.approx(before.seconds, abs=0.001)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"loads": None},
        {"loads": 3},
        {"loads": [3]},
        {"loads": [["read"]]},
        {"loads": [[["read", "soon"]]]},
        {"loads": [[["read", None]]]},
        {"loads": [[["read", 1, 2]]]},
    ],
)
def test_what_is_no_history_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(Corrupt, match="not a load history"):
        History.from_dict(data)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -3.0])
def test_times_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(Corrupt):
        History.from_dict({"loads": [[["read", seconds]]]})


def test_loads_on_different_devices_are_not_compared() -> None:
    assert history_key("digits", "cpu") != history_key("digits", "cuda:0")


def test_memory_knows_what_it_was_told_under_the_same_key() -> None:
    histories = MemoryHistories()
    histories.record("a", Load((("read", 1.0),)))
    histories.record("a", Load((("read", 2.0),)))
    assert [load.seconds for load in histories.past("a").loads] == [1.0, 2.0]
    assert histories.past("b") == History()


def test_visits_of_a_stage_are_numbered_from_the_second_on() -> None:
    earlier: list[str] = []
    for _ in range(3):
        earlier.append(visit_name("read", earlier))
    assert earlier == ["read", "read~2", "read~3"]
    assert [stage_of(visit) for visit in earlier] == ["read"] * 3


def test_beyond_some_visits_all_are_the_last() -> None:
    earlier = [visit_name("read", ()), *(f"read~{number}" for number in range(2, MOST_VISITS + 1))]
    assert visit_name("read", earlier) == earlier[-1]


@pytest.mark.parametrize("stage", ["read", "a~b", "~", "~x", "part~two"])
def test_a_stage_whose_name_only_looks_like_a_second_visit_is_itself(stage: str) -> None:
    assert stage_of(stage) == stage
