"""What is expected of a load."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.readiness.history import History, Load
from glowplug.readiness.plan import PRIOR_SIGMA, Plan
from glowplug.readiness.progress import Progress

names = st.sampled_from(["start", "import", "fetch", "read", "compile", "to device", "warm up"])
some_loads = st.lists(
    st.lists(st.tuples(names, st.floats(0, 1000)), min_size=1, max_size=6).map(lambda s: Load(tuple(s))),
    max_size=6,
)


def learned(*loads: dict[str, float]) -> Plan:
    history = History()
    for load in loads:
        history = history.with_load(Load(tuple(load.items())))
    return Plan.of(history)


def names_of(plan: Plan) -> list[str]:
    return [forecast.stage for forecast in plan.stages]


def seconds_of(plan: Plan, stage: str) -> float:
    forecast = plan.find(stage)
    assert forecast is not None
    return forecast.seconds


def test_a_first_load_is_expected_to_fetch_nothing_until_it_does() -> None:
    plan = Plan.of(History())
    assert plan.loads == 0
    assert [known.stage for known in plan.after("start", ())] == ["import", "read", "to device", "warm up"]


def test_one_load_tells_its_stages_and_their_length() -> None:
    plan = learned({"import": 2.0, "read": 8.0})
    assert plan.loads == 1
    assert names_of(plan) == ["import", "read"]
    assert seconds_of(plan, "read") == pytest.approx(8.0)
    assert plan.seconds == pytest.approx(10.0)


def test_the_middle_of_several_loads_is_expected() -> None:
    assert seconds_of(learned({"read": 4.0}, {"read": 5.0}, {"read": 6.0}), "read") == pytest.approx(5.0, rel=0.05)


def test_one_load_on_a_bad_day_hardly_matters() -> None:
    loads = [{"read": 5.0}] * 6
    assert seconds_of(learned(*loads, {"read": 500.0}), "read") == pytest.approx(5.0, rel=0.15)


def test_more_loads_make_a_regular_stage_surer() -> None:
    one, many = learned({"read": 5.0}).find("read"), learned(*[{"read": 5.0}] * 10).find("read")
    assert one is not None
    assert many is not None
    assert many.sigma < PRIOR_SIGMA < one.sigma


def test_an_irregular_stage_is_less_sure_than_a_regular_one() -> None:
    wild = learned(*[{"read": value} for value in (2.0, 4.0, 8.0, 2.5, 6.0, 9.0)]).find("read")
    calm = learned(*[{"read": 5.0}] * 6).find("read")
    assert wild is not None
    assert calm is not None
    assert wild.sigma > 1.5 * calm.sigma


def test_a_stage_entered_twice_counts_once_with_both_times() -> None:
    plan = Plan.of(History((Load((("read", 2.0), ("import", 1.0), ("read", 3.0))),)))
    assert seconds_of(plan, "read") == pytest.approx(5.0)


def test_the_newest_load_decides_the_order() -> None:
    assert names_of(learned({"read": 1.0, "import": 1.0}, {"import": 1.0, "read": 1.0})) == ["import", "read"]


def test_what_only_older_loads_had_stays_behind_what_it_followed() -> None:
    plan = learned({"import": 1.0, "fetch": 9.0, "read": 1.0}, {"import": 1.0, "read": 1.0, "warm up": 1.0})
    assert names_of(plan) == ["import", "fetch", "read", "warm up"]


def test_what_was_fetched_once_is_not_expected_to_be_fetched_again() -> None:
    plan = learned({"import": 1.0, "fetch": 9.0, "read": 1.0})
    assert [known.stage for known in plan.after("import", ())] == ["read"]
    assert plan.seconds == pytest.approx(2.0)


def test_what_is_fetched_each_time_is_expected() -> None:
    plan = learned({"fetch": 9.0, "read": 1.0}, {"fetch": 9.0, "read": 1.0})
    assert plan.seconds == pytest.approx(10.0, rel=0.05)


def test_a_stage_that_most_loads_lack_is_not_expected() -> None:
    plan = learned({"read": 1.0, "compile": 60.0}, {"read": 1.0}, {"read": 1.0})
    assert plan.after("read", ()) == ()


def test_only_what_comes_later_is_ahead() -> None:
    plan = learned({"import": 1.0, "read": 2.0, "to device": 3.0, "warm up": 4.0})
    assert [known.stage for known in plan.after("read", ("import",))] == ["to device", "warm up"]
    assert [known.stage for known in plan.after("read", ("import", "to device"))] == ["warm up"]


def test_a_stage_nobody_heard_of_stands_behind_the_last_known_one() -> None:
    plan = learned({"import": 1.0, "read": 2.0, "warm up": 4.0})
    assert [known.stage for known in plan.after("compile", ("import", "read"))] == ["warm up"]
    assert [known.stage for known in plan.after("compile", ())] == ["import", "read", "warm up"]


def test_a_stage_counts_by_the_time_it_usually_takes() -> None:
    plan = learned({"import": 1.0, "read": 8.0, "warm up": 1.0})
    assert plan.percent(Progress("import"), ()) == pytest.approx(0.0)
    assert plan.percent(Progress("read"), ("import",)) == pytest.approx(10.0)
    assert plan.percent(Progress("read", 1, 2), ("import",)) == pytest.approx(50.0)
    assert plan.percent(Progress("warm up"), ("import", "read")) == pytest.approx(90.0)
    assert plan.percent(Progress("warm up", 1, 1), ("import", "read")) == pytest.approx(100.0)


def test_stages_that_were_left_out_are_behind_all_the_same() -> None:
    plan = learned({"import": 1.0, "read": 8.0, "warm up": 1.0})
    assert plan.percent(Progress("warm up"), ("import",)) == pytest.approx(90.0)


def test_a_fetch_that_nobody_expected_takes_its_place_in_the_whole() -> None:
    plan = learned({"fetch": 9.0, "read": 1.0})
    assert plan.percent(Progress("fetch", 1, 2), ()) == pytest.approx(45.0)


def test_a_stage_nobody_heard_of_is_a_small_part() -> None:
    plan = learned({"import": 5.0, "read": 5.0})
    assert plan.percent(Progress("compile"), ("import", "read")) == pytest.approx(100 * 10 / 11)


@given(some_loads, names, st.sets(names), st.floats(0, 1))
def test_a_percentage_is_between_nothing_and_all(past: list[Load], stage: str, entered: set[str], share: float) -> None:
    history = History()
    for load in past:
        history = history.with_load(load)
    percent = Plan.of(history).percent(Progress(stage, share, 1.0), entered)
    assert -1e-9 <= percent <= 100 + 1e-9


@given(some_loads, names, st.lists(st.floats(0, 1), min_size=2))
def test_a_counter_that_grows_never_lowers_the_percentage(past: list[Load], stage: str, shares: list[float]) -> None:
    history = History()
    for load in past:
        history = history.with_load(load)
    plan = Plan.of(history)
    shown = [plan.percent(Progress(stage, share, 1.0), ()) for share in sorted(shares)]
    assert all(before <= after + 1e-9 for before, after in itertools.pairwise(shown))
