"""What is done about a dead process: decided from what it died of and what went before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.process.death import LONGEST_DELAY_SECONDS, Death, Restarts, crash, exit_name
from glowplug.readiness.component_snapshot import ErrorClass

FRESH = Restarts(load_attempts=3, max_restarts=5)
DELAYS = [0.0, 0.5, 1.0, 2.0, 4.0, None]


def died(kind: ErrorClass = ErrorClass.TRANSIENT, *, was_ready: bool = False, blameless: bool = False) -> Death:
    return Death("why", kind, was_ready=was_ready, blameless=blameless)


def delays(restarts: Restarts, *deaths: Death) -> list[float | None]:
    found = []
    for death in deaths:
        restarts, verdict = restarts.after(death)
        found.append(verdict.delay_seconds)
    return found


def test_a_first_load_that_may_pass_is_tried_as_often_as_allowed() -> None:
    assert delays(FRESH, *[died()] * 3) == [1.0, 2.0, None]


@pytest.mark.parametrize("kind", [ErrorClass.PERMANENT, ErrorClass.OUT_OF_MEMORY, ErrorClass.STALLED])
def test_a_first_load_that_will_not_pass_is_given_up_at_once(kind: ErrorClass) -> None:
    assert delays(FRESH, died(kind)) == [None]


def test_what_was_ready_is_restarted_at_once_then_with_growing_delays_then_given_up() -> None:
    assert delays(FRESH, *[died(was_ready=True)] * 6) == DELAYS


@pytest.mark.parametrize("kind", [ErrorClass.TRANSIENT, ErrorClass.OUT_OF_MEMORY, ErrorClass.STALLED])
def test_a_reload_that_fails_counts_as_one_more_death(kind: ErrorClass) -> None:
    assert delays(FRESH, died(was_ready=True), *[died(kind)] * 5) == DELAYS


def test_a_reload_that_never_will_succeed_is_given_up() -> None:
    assert delays(FRESH, died(was_ready=True), died(ErrorClass.PERMANENT)) == [0.0, None]


def test_failed_first_loads_do_not_count_against_a_model_that_made_it() -> None:
    assert delays(FRESH, died(), died(), died(was_ready=True)) == [1.0, 2.0, 0.0]


def test_good_work_gives_all_restarts_back() -> None:
    restarts, _ = FRESH.after(died(was_ready=True))
    restarts, _ = restarts.after(died(was_ready=True))
    assert delays(restarts.after_good_work(), died(was_ready=True)) == [0.0]


def test_a_death_that_is_nobodys_fault_counts_for_nothing() -> None:
    deaths = [died(was_ready=True, blameless=True)] * 20
    assert delays(FRESH, *deaths) == [0.0] * 20


def test_asking_again_begins_afresh() -> None:
    restarts, _ = FRESH.after(died(was_ready=True))
    assert restarts.afresh() == FRESH


def test_the_verdict_says_which_try_comes_next() -> None:
    _, verdict = FRESH.after(died())
    assert (verdict.number, verdict.most) == (2, 3)
    _, verdict = FRESH.after(died(was_ready=True))
    assert (verdict.number, verdict.most) == (1, 5)


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(0, 100))
def test_delays_are_bounded_and_restarts_in_a_row_too(ready: list[bool], allowed: int) -> None:
    found = delays(Restarts(3, allowed, was_ready=True), *[died(was_ready=one) for one in ready])
    assert all(delay is None or 0 <= delay <= LONGEST_DELAY_SECONDS for delay in found)
    assert [delay is None for delay in found] == [number >= allowed for number in range(len(ready))]


@pytest.mark.parametrize(("status", "name"), [(0, "status 0"), (3, "status 3"), (-11, "SIGSEGV"), (-250, "signal 250")])
def test_exits_have_names(status: int, name: str) -> None:
    assert exit_name(status) == name


def test_a_kill_by_the_kernel_for_want_of_memory_is_called_that() -> None:
    death = crash(-9, was_ready=True, out_of_memory=True)
    assert death.error_class is ErrorClass.OUT_OF_MEMORY
    assert death.why == "Out of memory: the kernel killed it (SIGKILL)"


def test_another_crash_may_pass() -> None:
    death = crash(-11, was_ready=False, out_of_memory=False)
    assert (death.why, death.error_class) == ("its process died with SIGSEGV", ErrorClass.TRANSIENT)
