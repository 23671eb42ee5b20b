"""Why a component cannot take work: what callers are told, and whether asking again helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glowplug.errors import Draining, LoadFailed, NotReady
from glowplug.readiness import ComponentSnapshot, ErrorClass, Estimate, Failure, Gates, Status
from glowplug.readiness.refusal import why_not_ready

GONE = Failure("no answer from http://localhost:11434", ErrorClass.TRANSIENT, retryable=True)
LEANING = ComponentSnapshot("chat", status=Status.ERROR, gates=Gates.START, was_ready=True, failure=GONE)


@pytest.mark.parametrize("status", [Status.PENDING, Status.LOADING, Status.WARMING, Status.SLEEPING])
def test_what_is_on_its_way_is_asked_for_again(status: Status) -> None:
    error = why_not_ready(ComponentSnapshot("tts", status=status))
    assert (type(error), error.message) == (NotReady, f"tts is not ready yet ({status.value}): ask again")
    assert (error.data["state"], error.data["retry_after"]) == (status.value, 2)


def test_what_ended_the_attempt_before_is_told_while_the_next_is_awaited() -> None:
    error = why_not_ready(ComponentSnapshot("chat", status=Status.PENDING, reason="in 2 s (1 of 5)", failure=GONE))
    assert error.message == f"chat is not ready yet (pending): {GONE.error}; ask again"
    assert error.retryable


@pytest.mark.parametrize(("seconds", "wait"), [(1, 1), (7, 7), (900, 30)])
def test_where_there_is_an_estimate_it_says_when(seconds: int, wait: int) -> None:
    estimate = Estimate(seconds, seconds, seconds)
    error = why_not_ready(ComponentSnapshot("tts", status=Status.LOADING, estimate=estimate))
    assert (error.data["estimated_seconds"], error.data["retry_after"]) == (seconds, wait)


@pytest.mark.parametrize("status", [Status.ERROR, Status.UNAVAILABLE])
def test_what_failed_stays_so_and_no_time_is_told(status: Status) -> None:
    error = why_not_ready(ComponentSnapshot("tts", status=status, reason="not_installed"))
    assert (type(error), error.message) == (LoadFailed, "tts could not be loaded: not_installed")
    assert (error.retryable, "retry_after" in error.data) == (False, False)


def test_where_only_what_it_leans_on_is_gone_it_comes_back_by_itself() -> None:
    error = why_not_ready(LEANING)
    assert (type(error), error.message) == (NotReady, f"chat does not work at the moment: {GONE.error}")
    assert (error.retryable, error.data["retry_after"]) == (True, 2)


@pytest.mark.parametrize("other", [{"was_ready": False}, {"gates": Gates.ALWAYS}])
def test_one_that_never_worked_or_has_died_itself_does_not(other: dict[str, object]) -> None:
    assert type(why_not_ready(replace(LEANING, **other))) is LoadFailed  # type: ignore[arg-type]


def test_one_that_leaves_sends_its_callers_elsewhere() -> None:
    assert type(why_not_ready(ComponentSnapshot("tts", status=Status.DRAINING))) is Draining
