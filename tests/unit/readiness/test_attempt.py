"""One attempt as a value."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.readiness.attempt import MOST_STAGES, NEARLY_PERCENT, Attempt
from glowplug.readiness.history import MOST_VISITS, History, Load
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import Progress

FIRST = Plan.of(History())
SECOND = Plan.of(History((Load((("start", 1.0), ("read", 8.0), ("warm up", 1.0))),)))


def read_half(plan: Plan = SECOND) -> Attempt:
    attempt = Attempt.begun(1, plan, now=10.0).entered("read", 11.0)
    return attempt.advanced(15.0, Progress("read", 1, 2))


def test_an_attempt_begins_in_the_stage_start_with_nothing_done() -> None:
    attempt = Attempt.begun(3, FIRST, now=10.0)
    assert (attempt.number, attempt.progress.stage, attempt.percent) == (3, "start", 0.0)


def test_entering_a_stage_ends_the_one_before() -> None:
    attempt = Attempt.begun(1, FIRST, 10.0).entered("import", 12.0).entered("read", 17.0)
    assert dict(attempt.spent) == {"start": 2.0, "import": 5.0}


def test_naming_the_running_stage_again_loses_nothing() -> None:
    attempt = read_half()
    again = attempt.entered("read", 16.0)
    assert again.progress == attempt.progress
    assert again.active == 16.0


def test_a_stage_entered_again_is_another_visit() -> None:
    attempt = Attempt.begun(1, FIRST, 0.0).entered("read", 1.0).entered("import", 3.0).entered("read", 4.0)
    assert attempt.progress.stage == "read"
    assert attempt.load(9.0).stages == (("start", 1.0), ("read", 2.0), ("import", 1.0), ("read~2", 5.0))


def test_a_load_with_a_stage_for_each_tensor_stays_small() -> None:
    attempt = Attempt.begun(1, FIRST, 0.0)
    for number in range(500):
        attempt = attempt.entered(f"tensor {number}", float(number))
    attempt = attempt.entered("warm up", 500.0)
    stages = attempt.load(503.0).stages
    assert len(stages) == MOST_STAGES + 2
    assert (attempt.progress.stage, dict(stages)["warm up"], attempt.load(503.0).seconds) == ("warm up", 3.0, 503.0)


def test_what_lies_between_two_visits_is_ahead_until_it_was_there() -> None:
    visits = (("start", 1.0), ("import", 2.0), ("read", 0.1), ("import~2", 4.0), ("read~2", 5.0), ("warm up", 1.0))
    plan = Plan.of(History((Load(visits),)))
    attempt = Attempt.begun(1, plan, 0.0)
    left = []
    for moment, stage in ((1.0, "import"), (3.0, "read"), (3.1, "import"), (7.1, "read"), (12.1, "warm up")):
        attempt = attempt.entered(stage, moment)
        found = attempt.estimate(moment)
        assert found is not None
        left.append(found.p50_seconds)
    assert left == pytest.approx([12.1, 10.1, 10.0, 6.0, 1.0], rel=0.2)


def test_a_loader_that_goes_to_and_fro_for_ever_leaves_a_short_record() -> None:
    attempt = Attempt.begun(1, FIRST, 0.0)
    for turn in range(1000):
        attempt = attempt.entered("read" if turn % 2 else "to device", float(turn))
    load = attempt.load(1000.0)
    assert len(load.stages) == 1 + 2 * MOST_VISITS
    assert load.seconds == pytest.approx(1000.0)


def test_its_record_lasts_from_beginning_to_end() -> None:
    assert read_half().load(20.0).seconds == 10.0


def test_progress_moves_with_the_counter() -> None:
    assert read_half().percent == pytest.approx(50.0)


def test_a_sign_of_life_changes_nothing_but_the_moment() -> None:
    attempt = read_half()
    assert attempt.alive(99.0).active == 99.0
    assert attempt.alive(99.0).percent == attempt.percent


def test_it_is_never_all_done_before_it_is_ready() -> None:
    attempt = read_half().entered("warm up", 20.0).advanced(21.0, Progress("warm up", 1, 1))
    assert attempt.percent == NEARLY_PERCENT


def test_an_end_that_moves_away_does_not_move_the_bar_back() -> None:
    attempt = read_half().advanced(16.0, Progress("read", 1, 1000))
    assert attempt.percent == pytest.approx(50.0)


def test_an_estimate_knows_the_time_in_the_stage() -> None:
    attempt = Attempt.begun(1, SECOND, 0.0).entered("read", 1.0)
    early, late = attempt.estimate(1.0), attempt.estimate(5.0)
    assert early is not None
    assert late is not None
    assert late.p50_seconds < early.p50_seconds


def test_an_estimate_counts_the_earlier_part_of_a_stage_entered_again() -> None:
    straight = Attempt.begun(1, SECOND, 0.0).entered("read", 1.0)
    broken = straight.entered("note", 4.0).entered("read", 4.0)
    first, second = straight.estimate(6.0), broken.estimate(6.0)
    assert first is not None
    assert second is not None
    assert second.p50_seconds == pytest.approx(first.p50_seconds, rel=0.05)


steps = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(["import", "fetch", "read", "own", "to device", "warm up"])),
    st.tuples(st.just("advance"), st.tuples(st.floats(0, 1e12), st.none() | st.floats(0, 1e12))),
)


@given(st.sampled_from([FIRST, SECOND]), st.lists(st.tuples(steps, st.floats(0, 100)), max_size=40))
def test_whatever_is_reported_progress_never_goes_back(
    plan: Plan, reports: list[tuple[tuple[str, object], float]]
) -> None:
    attempt, now, shown = Attempt.begun(1, plan, 0.0), 0.0, [0.0]
    for (kind, value), seconds in reports:
        now += seconds
        if isinstance(value, str):
            attempt = attempt.entered(value, now)
        elif isinstance(value, tuple):
            attempt = attempt.advanced(now, attempt.progress.advanced(*value))
        shown.append(attempt.percent)
        estimate = attempt.estimate(now)
        assert estimate is None or estimate.p50_seconds >= 0, kind
    assert all(before <= after for before, after in itertools.pairwise(shown))
    assert 0 <= shown[-1] <= NEARLY_PERCENT
    assert attempt.load(now).seconds == pytest.approx(now)
