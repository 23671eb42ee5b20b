"""When a load is given up."""

from __future__ import annotations

import pytest

from glowplug.readiness.attempt import Attempt
from glowplug.readiness.deadlines import Deadlines
from glowplug.readiness.history import History
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import Progress

BEGUN = Attempt.begun(1, Plan.of(History()), now=100.0)
LIMITS = Deadlines(startup_seconds=900, warm_up_seconds=60, stall_seconds=300)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert Deadlines().startup_seconds == 900
    assert Deadlines().warm_up_seconds == 60


def test_silence_ends_a_load_and_the_words_say_where() -> None:
    moment, why = LIMITS.of(BEGUN.entered("import", 110.0))
    assert moment == 410.0
    assert why == "Model loading stalled: no sign of life for 300 s while importing libraries"


@pytest.mark.parametrize(
    "attempt",
    [
        BEGUN.alive(250.0),
        BEGUN.entered("read", 250.0),
        BEGUN.entered("read", 110.0).advanced(250.0, Progress("read", 1, 2)),
    ],
    ids=["alive", "stage", "counter"],
)
def test_every_sign_of_life_moves_the_deadline(attempt: Attempt) -> None:
    assert LIMITS.of(attempt)[0] == 550.0


def test_a_load_that_is_alive_still_ends_with_the_outer_bound() -> None:
    assert LIMITS.of(BEGUN.alive(990.0)) == (1000.0, "Model loading timeout")


def test_a_warm_up_has_a_bound_of_its_own() -> None:
    warming = BEGUN.entered("warm up", 980.0)
    assert LIMITS.of(warming) == (1040.0, "Model warm-up timeout")
    assert LIMITS.of(warming.alive(1030.0)) == (1040.0, "Model warm-up timeout")
