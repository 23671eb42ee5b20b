"""The speed of a counter over a recent window."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.readiness.rate import EARNED_SECONDS, FEWEST_SAMPLES, SPACING_SECONDS, WINDOW_SECONDS, RateWindow


def watched(speed: Callable[[float], float], until: float, step: float = 0.1) -> RateWindow:
    window, done, moment = RateWindow(), 0.0, 0.0
    while moment <= until:
        window = window.observed(moment, done)
        done += speed(moment) * step
        moment += step
    return window


def test_nothing_is_known_before_anything_was_seen() -> None:
    assert RateWindow().rate(100.0) is None


def test_no_speed_until_it_was_watched_for_long_enough() -> None:
    assert watched(lambda _: 10.0, until=EARNED_SECONDS * 0.9).rate(EARNED_SECONDS * 0.9) is None
    assert watched(lambda _: 10.0, until=EARNED_SECONDS * 1.2).rate(EARNED_SECONDS * 1.2) is not None


def test_a_steady_speed_is_found() -> None:
    rate = watched(lambda _: 10.0, until=8).rate(8)
    assert rate is not None
    assert rate.per_second == pytest.approx(10.0, rel=0.05)


def test_a_longer_watch_is_surer() -> None:
    window = watched(lambda _: 10.0, until=9)
    short, long = watched(lambda _: 10.0, until=2.5).rate(2.5), window.rate(9)
    assert short is not None
    assert long is not None
    assert long.sigma < short.sigma


@pytest.mark.parametrize("factor", [0.2, 0.5, 2.0, 5.0])
def test_a_changed_speed_is_followed_within_seconds(factor: float) -> None:
    rate = watched(lambda moment: 10.0 if moment < 20 else 10.0 * factor, until=25).rate(25)
    assert rate is not None
    assert rate.per_second == pytest.approx(10.0 * factor, rel=0.15)


def test_a_wavering_speed_is_less_sure_than_a_steady_one() -> None:
    steady = watched(lambda _: 10.0, until=8).rate(8)
    wavering = watched(lambda moment: 10.0 if moment < 4 else 13.0, until=8).rate(8)
    assert steady is not None
    assert wavering is not None
    assert wavering.sigma > steady.sigma


def test_silence_slows_the_speed() -> None:
    window = watched(lambda _: 10.0, until=8)
    now, later = window.rate(8), window.rate(10)
    assert now is not None
    assert later is not None
    assert later.per_second < now.per_second


def test_a_pause_that_has_just_begun_is_only_an_uncertainty() -> None:
    window = watched(lambda _: 10.0, until=8)
    now, later = window.rate(8), window.rate(9.5)
    assert now is not None
    assert later is not None
    assert later.sigma > now.sigma


def test_reports_that_come_rarely_are_steady_all_the_same() -> None:
    window = RateWindow()
    for shard in range(5):
        window = window.observed(4.0 * shard, 100.0 * shard)
        for wait in (0.0, 2.0, 3.9):
            rate = window.rate(4.0 * shard + wait)
            if shard == 0:
                assert rate is None
                continue
            assert rate is not None
            assert rate.per_second == pytest.approx(25.0)
            assert rate.silent_seconds == pytest.approx(wait)


def test_rare_reports_that_stay_away_slow_the_speed() -> None:
    window = RateWindow()
    for shard in range(5):
        window = window.observed(4.0 * shard, 100.0 * shard)
    late = window.rate(24.0)
    assert late is not None
    assert late.per_second < 25.0


def test_what_stands_still_has_no_speed() -> None:
    assert watched(lambda _: 0.0, until=8).rate(8) is None
    assert watched(lambda _: 10.0, until=8).rate(60) is None


def test_reports_that_come_too_close_are_left_out() -> None:
    window = RateWindow().observed(0.0, 0).observed(SPACING_SECONDS / 2, 5)
    assert len(window.samples) == 1


def test_old_samples_are_forgotten() -> None:
    window = watched(lambda _: 10.0, until=60)
    assert window.samples[-1][0] - window.samples[0][0] <= WINDOW_SECONDS
    assert len(window.samples) <= WINDOW_SECONDS / SPACING_SECONDS + FEWEST_SAMPLES


@given(st.lists(st.tuples(st.floats(0.001, 5), st.floats(0, 1e12)), max_size=60), st.floats(0, 100))
def test_a_speed_is_always_a_positive_number(steps: Iterable[tuple[float, float]], wait: float) -> None:
    window, now, done = RateWindow(), 0.0, 0.0
    for seconds, more in steps:
        now, done = now + seconds, done + more
        window = window.observed(now, done)
    rate = window.rate(now + wait)
    assert rate is None or (rate.per_second > 0 and 0 < rate.sigma < 1)
