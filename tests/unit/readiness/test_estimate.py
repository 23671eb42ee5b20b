"""How long until ready: earned, banded, followed; and how often it is right, by simulation."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.readiness.estimate import Estimate, Standing, estimate, together
from glowplug.readiness.history import History, Load
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import Progress
from glowplug.readiness.rate import Rate, RateWindow
from glowplug.readiness.wire import Reader

USUAL = {"start": 0.3, "import": 3.0, "read": 6.0, "to device": 1.5, "warm up": 2.0}


def learned(*loads: Mapping[str, float]) -> Plan:
    history = History()
    for load in loads:
        history = history.with_load(Load(tuple(load.items())))
    return Plan.of(history)


def told(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


def test_nothing_is_promised_of_a_model_that_was_never_loaded() -> None:
    assert estimate(Plan.of(History())) is None
    assert estimate(Plan.of(History()), Standing(Progress("import"), 5.0)) is None


def test_one_past_load_earns_an_estimate_before_the_next_begins() -> None:
    found = told(estimate(learned(USUAL)))
    assert found.p50_seconds == pytest.approx(sum(USUAL.values()), rel=0.1)
    assert found.p10_seconds < found.p50_seconds < found.p90_seconds


def test_a_steady_speed_earns_an_estimate_on_the_first_load() -> None:
    standing = Standing(Progress("read", 5e9, 10e9, "bytes"), 5.0, {"start": 0.1}, Rate(1e9, 0.1))
    found = told(estimate(Plan.of(History()), standing))
    assert found.p50_seconds > 5.0
    assert found.p90_seconds > 1.3 * found.p50_seconds


@pytest.mark.parametrize("total", [1e20, 1e160, 1e308])
@pytest.mark.parametrize("loads", [[], [USUAL]])
def test_an_end_that_is_beyond_all_reason_still_makes_a_number(total: float, loads: list[dict[str, float]]) -> None:
    standing = Standing(Progress("read", 1.0, total, "bytes"), 5.0, {"start": 0.1}, Rate(0.001, 0.1))
    found = told(estimate(learned(*loads), standing))
    assert 0 < found.p10_seconds <= found.p50_seconds <= found.p90_seconds < math.inf
    assert found.seconds > 1e6


def test_a_speed_without_a_known_end_earns_nothing() -> None:
    standing = Standing(Progress("read", 5e9, None, "bytes"), 5.0, {}, Rate(1e9, 0.1))
    assert estimate(Plan.of(History()), standing) is None


def test_on_the_first_load_the_estimate_ends_with_the_counter() -> None:
    standing = Standing(Progress("to device"), 1.0, {"read": 5.0})
    assert estimate(Plan.of(History()), standing) is None


def test_a_stage_of_an_own_name_earns_by_its_speed_as_well() -> None:
    standing = Standing(Progress("unpack", 5, 10, "files"), 5.0, {}, Rate(1.0, 0.1))
    assert told(estimate(Plan.of(History()), standing)).p50_seconds > 5.0


def test_each_finished_stage_brings_the_end_nearer() -> None:
    plan, spent, ends = learned(USUAL), {}, []
    for stage, seconds in USUAL.items():
        ends.append(told(estimate(plan, Standing(Progress(stage), 0.0, dict(spent)))).p50_seconds)
        spent[stage] = seconds
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == pytest.approx(2.0, rel=0.15)


def test_time_in_a_stage_counts() -> None:
    plan = learned({"import": 10.0})
    left = [told(estimate(plan, Standing(Progress("import"), elapsed))).p50_seconds for elapsed in (0, 2, 4, 6, 8)]
    assert left == sorted(left, reverse=True)
    assert left[2] == pytest.approx(6.0, rel=0.2)


def test_a_stage_that_outlasts_all_experience_is_never_due_at_any_moment() -> None:
    plan = learned({"import": 10.0})
    for elapsed in (30.0, 100.0, 1000.0):
        found = told(estimate(plan, Standing(Progress("import"), elapsed)))
        assert found.p50_seconds > 0.03 * elapsed
        assert math.isfinite(found.p90_seconds)


def test_the_counter_of_the_stage_outweighs_its_history() -> None:
    standing = Standing(Progress("read", 1e9, 10e9, "bytes"), 5.0, {"start": 0.3, "import": 3.0}, Rate(0.2e9, 0.15))
    found = told(estimate(learned(USUAL), standing))
    assert found.p50_seconds > 30


def test_a_speed_far_from_the_past_is_believed_with_a_wider_band() -> None:
    def found(per_second: float) -> Estimate:
        standing = Standing(Progress("read", 1e9, 10e9, "bytes"), 5.0, {}, Rate(per_second, 0.15))
        return told(estimate(learned({"read": 10.0}), standing))

    usual, slow = found(1e9), found(0.25e9)
    assert slow.p50_seconds == pytest.approx(36, rel=0.05)
    assert slow.p90_seconds / slow.p10_seconds > 1.2 * usual.p90_seconds / usual.p10_seconds


def test_a_short_look_at_the_counter_earns_only_with_a_past() -> None:
    standing = Standing(Progress("read", 1e9, 10e9, "bytes"), 1.5, {}, Rate(1e9, 0.3))
    assert estimate(Plan.of(History()), standing) is None
    assert told(estimate(learned({"read": 30.0}), standing)).p50_seconds < 20


def test_a_finished_counter_leaves_only_the_stages_ahead() -> None:
    standing = Standing(Progress("read", 10, 10, "bytes"), 6.0, {"start": 0.3, "import": 3.0}, Rate(1.6, 0.15))
    assert told(estimate(learned(USUAL), standing)).p50_seconds == pytest.approx(3.5, rel=0.15)


def test_silence_since_the_last_report_is_time_gone_by() -> None:
    def left(silent: float) -> float:
        standing = Standing(Progress("read", 5, 10, "shards"), 20.0, {}, Rate(0.25, 0.15, silent))
        return told(estimate(learned({"read": 40.0}), standing)).p50_seconds

    assert left(3.0) < left(0.0) - 2.0


def test_a_load_that_was_slow_so_far_is_expected_to_stay_slow() -> None:
    plan = learned(*[USUAL] * 5)
    usual = told(estimate(plan, Standing(Progress("to device"), 0.0, {"import": 3.0, "read": 6.0})))
    slow = told(estimate(plan, Standing(Progress("to device"), 0.0, {"import": 6.0, "read": 12.0})))
    assert slow.p50_seconds > 1.2 * usual.p50_seconds


def test_a_very_short_stage_says_little_about_the_pace() -> None:
    plan = learned({"start": 0.01, "read": 10.0})
    usual = told(estimate(plan, Standing(Progress("read"), 0.0, {"start": 0.01})))
    slow = told(estimate(plan, Standing(Progress("read"), 0.0, {"start": 0.08})))
    assert slow.p50_seconds == pytest.approx(usual.p50_seconds, rel=0.05)


def test_an_unexpected_stage_is_taken_for_half_over() -> None:
    plan = learned({"import": 1.0, "warm up": 1.0})
    found = told(estimate(plan, Standing(Progress("compile"), 20.0, {"import": 1.0})))
    assert 10 < found.p50_seconds < 30


def test_more_regular_loads_narrow_the_band() -> None:
    def width(plan: Plan) -> float:
        found = told(estimate(plan))
        return found.p90_seconds / found.p10_seconds

    assert width(learned(*[USUAL] * 10)) < width(learned(USUAL))


def test_an_overrun_is_said_in_words() -> None:
    plan = learned({"import": 10.0})
    assert told(estimate(plan, Standing(Progress("import"), 9.0))).overrun == ""
    late = told(estimate(plan, Standing(Progress("import"), 95.0))).overrun
    assert late.startswith("Longer than usual: 95 s, usually under ")


def test_a_long_overrun_is_said_in_minutes() -> None:
    late = told(estimate(learned({"import": 600.0}), Standing(Progress("import"), 3600.0))).overrun
    assert late.startswith("Longer than usual: 60 min, usually under ")


def test_a_second_without_news_is_a_second_less_but_never_less_than_nothing() -> None:
    assert Estimate(1, 5, 9, "late").aged(2) == Estimate(0, 3, 7, "late")
    assert Estimate(1, 5, 9).aged(20) == Estimate(0, 0, 0)


def test_whole_seconds_are_never_none_while_waiting() -> None:
    assert Estimate(0, 0, 0).seconds == 1
    assert Estimate(0, 4.2, 9).seconds == 5


def test_an_estimate_survives_the_wire() -> None:
    for found in (Estimate(1.0, 2.5, 4.125), Estimate(0.0, 0.0, 9.0, "Longer than usual")):
        assert Estimate.read(Reader(found.to_dict(), "estimate")) == found


def test_loads_that_run_side_by_side_end_with_the_slowest() -> None:
    assert together([Estimate(1, 2, 3), Estimate(0, 4, 9)], []) == Estimate(1, 4, 9)


def test_a_load_that_waits_comes_on_top() -> None:
    assert together([Estimate(1, 2, 3), Estimate(0, 4, 9)], [Estimate(1, 1, 1)]) == Estimate(2, 5, 10)


def test_one_unknown_makes_the_whole_unknown() -> None:
    assert together([Estimate(1, 2, 3), None], []) is None
    assert together([Estimate(1, 2, 3)], [None]) is None
    assert together([], []) is None


def test_one_overrun_is_told_for_the_whole() -> None:
    found = told(together([Estimate(1, 2, 3), Estimate(1, 1, 1, "Longer than usual")], []))
    assert found.overrun == "Longer than usual"


lengths = st.floats(0.0, 5000.0)


@given(
    st.lists(st.dictionaries(st.sampled_from(list(USUAL)), lengths, min_size=1), max_size=4),
    st.sampled_from([*USUAL, "compile"]),
    lengths,
    st.dictionaries(st.sampled_from(list(USUAL)), lengths),
    st.none() | st.tuples(st.floats(0, 1), st.floats(1e-3, 1e12), st.floats(0.05, 0.6), st.floats(0, 10)),
)
def test_every_estimate_is_an_ordered_band_of_finite_times(
    past: list[dict[str, float]],
    stage: str,
    elapsed: float,
    spent: dict[str, float],
    counter: tuple[float, float, float, float] | None,
) -> None:
    progress, rate = Progress(stage), None
    if counter is not None:
        progress, rate = Progress(stage, counter[0] * 1e9, 1e9, "bytes"), Rate(*counter[1:])
    spent = {name: seconds for name, seconds in spent.items() if name != stage}
    found = estimate(learned(*past), Standing(progress, elapsed, spent, rate))
    assert found is not None or not past
    if found is not None:
        assert 0 <= found.p10_seconds <= found.p50_seconds <= found.p90_seconds < math.inf


@dataclass(frozen=True)
class World:
    """Loads to simulate: usual stage lengths, which of them have a byte counter, and how they vary.

    `common` is the share of the variance that all stages of a load have in common.
    """

    stages: Mapping[str, float]
    counted: tuple[str, ...] = ("fetch", "read")
    sigma: float = 0.25
    common: float = 0.0
    past_loads: int = 1

    def load(self, chance: random.Random) -> dict[str, float]:
        pace = chance.gauss(0, self.sigma * math.sqrt(self.common))
        own = self.sigma * math.sqrt(1 - self.common)
        return {stage: usual * math.exp(pace + chance.gauss(0, own)) for stage, usual in self.stages.items()}


Speed = Callable[[float], float]


def steadily(share_of_time: float) -> float:
    return share_of_time


def standing_at(moment: float, load: Mapping[str, float], world: World, speed: Speed) -> Standing:
    """Return what is seen of `load` at `moment`; `speed` maps the share of a counted stage's time to its bytes."""
    spent: dict[str, float] = {}
    for stage, seconds in load.items():
        if moment >= seconds:
            spent[stage], moment = seconds, moment - seconds
            continue
        if stage not in world.counted:
            return Standing(Progress(stage), moment, spent)
        window = RateWindow()
        for tick in range(int(moment / 0.2) + 1):
            window = window.observed(tick * 0.2, 1e9 * speed(tick * 0.2 / seconds))
        progress = Progress(stage, window.samples[-1][1], 1e9, "bytes")
        return Standing(progress, moment, spent, window.rate(moment))
    raise AssertionError("the load is over")


@dataclass(frozen=True)
class Outcome:
    """How good the estimates of many loads were: error against the time left, and how often the band held it."""

    median_error: float
    held: float


def half_way(world: World, speed: Speed = steadily, loads: int = 300, seed: int = 7) -> Outcome:
    chance = random.Random(seed)
    errors, held = [], 0
    for _ in range(loads):
        plan = learned(*[world.load(chance) for _ in range(world.past_loads)])
        load = world.load(chance)
        moment = sum(load.values()) / 2
        found = told(estimate(plan, standing_at(moment, load, world, speed)))
        left = sum(load.values()) - moment
        errors.append(abs(found.p50_seconds - left) / left)
        held += found.p10_seconds <= left <= found.p90_seconds
    return Outcome(statistics.median(errors), held / loads)


READ_MOSTLY = World(USUAL)
FETCH = World({"start": 0.3, "import": 2.0, "fetch": 20.0, "read": 4.0, "to device": 1.0, "warm up": 1.0})
LARGE = World({"start": 1.0, "import": 20.0, "read": 200.0, "to device": 60.0, "warm up": 20.0})


@pytest.mark.parametrize("world", [READ_MOSTLY, FETCH, LARGE], ids=["read", "fetch", "large"])
def test_on_the_second_load_the_middle_is_right_within_fifteen_percent(world: World) -> None:
    outcome = half_way(world)
    assert outcome.median_error <= 0.15
    assert 0.80 <= outcome.held <= 0.95


def test_a_machine_that_is_slow_as_a_whole_is_understood() -> None:
    outcome = half_way(World(USUAL, common=1.0))
    assert outcome.median_error <= 0.15
    assert 0.80 <= outcome.held <= 0.95


def test_without_any_counter_the_band_still_holds() -> None:
    outcome = half_way(World(USUAL, counted=()))
    assert outcome.median_error <= 0.25
    assert 0.80 <= outcome.held <= 0.95


def test_many_past_loads_make_it_better() -> None:
    outcome = half_way(World(USUAL, past_loads=10))
    assert outcome.median_error <= half_way(READ_MOSTLY).median_error
    assert 0.80 <= outcome.held <= 0.95


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_fetch_whose_rate_changes_is_followed(factor: float) -> None:
    def changing(share: float) -> float:
        whole = 0.25 + factor * 0.75
        return (min(share, 0.25) + factor * max(0.0, share - 0.25)) / whole

    outcome = half_way(FETCH, changing)
    assert outcome.median_error <= 0.20
    assert 0.80 <= outcome.held <= 0.97
