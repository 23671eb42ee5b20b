"""States: facts on the members, the table, the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import BugError
from glowplug.readiness.state import (
    TRANSITIONS,
    Gates,
    Phase,
    State,
    Status,
    allowed,
    holds_back,
    route,
    verdict,
)

LOADING = {Status.PENDING, Status.FETCHING, Status.LOADING, Status.WARMING}


@dataclass(frozen=True)
class Piece:
    status: Status
    required: bool = True
    gates: Gates = Gates.ALWAYS
    attempt: int = 0
    was_ready: bool = False


pieces = st.builds(
    Piece,
    status=st.sampled_from(Status),
    required=st.booleans(),
    gates=st.sampled_from(Gates),
    attempt=st.integers(0, 3),
    was_ready=st.booleans(),
)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (State.INITIALIZING, Phase.CONNECTING),
        (State.LOADING_MODELS, Phase.LOADING),
        (State.WARMING_UP, Phase.FINALIZING),
        (State.READY, Phase.READY),
        (State.ERROR, Phase.ERROR),
        (State.DRAINING, Phase.CONNECTING),
    ],
)
def test_each_overall_state_has_the_older_word_for_it(state: State, phase: Phase) -> None:
    assert state.phase is phase


def test_only_ready_can_serve() -> None:
    assert [state for state in State if state.can_serve] == [State.READY]
    assert [status for status in Status if status.can_serve] == [Status.READY]


def test_a_stream_may_end_at_ready_and_at_error_alone() -> None:
    assert {state for state in State if state.is_settled} == {State.READY, State.ERROR}


def test_every_overall_state_is_loading_or_settled_or_draining() -> None:
    assert {state for state in State if not state.is_loading and not state.is_settled} == {State.DRAINING}


def test_the_old_name_of_all_that_comes_before_ready_is_loading() -> None:
    assert {status for status in Status if status.old_name == "loading"} == LOADING
    assert all(status.old_name == status.value for status in Status if status not in LOADING)


def test_a_pending_component_is_loading_but_runs_no_attempt() -> None:
    assert Status.PENDING.is_loading
    assert not Status.PENDING.is_running
    assert {status for status in Status if status.is_running} == LOADING - {Status.PENDING}


def test_what_failed_needs_help() -> None:
    assert {status for status in Status if status.is_failed} == {Status.ERROR, Status.UNAVAILABLE}


def test_what_is_settled_neither_loads_nor_leaves() -> None:
    settled = {Status.READY, Status.ERROR, Status.UNAVAILABLE, Status.SLEEPING}
    assert {status for status in Status if status.is_settled} == settled


def test_the_table_knows_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_nothing_follows_itself() -> None:
    assert not any(allowed(status, status) for status in Status)


def test_a_load_ends_ready_only_from_loading_or_warming() -> None:
    assert {old for old in Status if allowed(old, Status.READY)} == {Status.LOADING, Status.WARMING}


def test_everything_but_draining_can_be_drained() -> None:
    assert {old for old in Status if allowed(old, Status.DRAINING)} == set(Status) - {Status.DRAINING}


def test_after_draining_there_is_only_sleep() -> None:
    assert TRANSITIONS[Status.DRAINING] == {Status.SLEEPING}


def test_a_crashed_or_reloaded_component_loads_again() -> None:
    assert allowed(Status.READY, Status.LOADING)
    assert allowed(Status.READY, Status.PENDING)
    assert allowed(Status.ERROR, Status.LOADING)


def test_a_late_success_goes_from_error_to_ready_over_loading() -> None:
    assert not allowed(Status.ERROR, Status.READY)
    assert route(Status.ERROR, Status.READY) == (Status.LOADING, Status.READY)


def test_a_direct_way_is_taken_directly() -> None:
    assert route(Status.LOADING, Status.WARMING) == (Status.WARMING,)


def test_staying_is_no_way_at_all() -> None:
    assert route(Status.READY, Status.READY) == ()


def test_a_way_that_does_not_exist_is_a_bug_that_names_both_ends() -> None:
    with pytest.raises(BugError, match="from draining to ready"):
        route(Status.DRAINING, Status.READY)


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_every_step_of_every_route_is_in_the_table(old: Status, new: Status) -> None:
    if old is Status.DRAINING and new not in (Status.DRAINING, Status.SLEEPING):
        with pytest.raises(BugError):
            route(old, new)
        return
    steps = (old, *route(old, new))
    assert steps[-1] is new
    assert all(allowed(before, after) for before, after in pairwise(steps))


def test_without_components_nothing_is_ready() -> None:
    assert verdict([]) is State.INITIALIZING


def test_ready_when_every_required_component_is() -> None:
    assert verdict([Piece(Status.READY), Piece(Status.READY)]) is State.READY


@pytest.mark.parametrize("status", Status)
def test_an_optional_component_never_holds_it_back(status: Status) -> None:
    assert verdict([Piece(Status.READY), Piece(status, required=False)]) is State.READY


def test_components_that_all_wait_are_initializing() -> None:
    assert verdict([Piece(Status.PENDING), Piece(Status.PENDING)]) is State.INITIALIZING


def test_one_that_loads_makes_the_whole_load() -> None:
    assert verdict([Piece(Status.LOADING, attempt=1), Piece(Status.PENDING)]) is State.LOADING_MODELS


def test_one_ready_and_one_still_waiting_is_loading() -> None:
    assert verdict([Piece(Status.READY, attempt=1), Piece(Status.PENDING)]) is State.LOADING_MODELS


def test_a_crashed_model_that_waits_for_its_restart_is_loading() -> None:
    assert verdict([Piece(Status.PENDING, attempt=1, was_ready=True)]) is State.LOADING_MODELS


def test_warming_up_when_all_that_is_missing_warms_up() -> None:
    assert verdict([Piece(Status.READY), Piece(Status.WARMING, attempt=1)]) is State.WARMING_UP
    both = [Piece(Status.LOADING, attempt=1), Piece(Status.WARMING, attempt=1)]
    assert verdict(both) is State.LOADING_MODELS


@pytest.mark.parametrize("status", [Status.ERROR, Status.UNAVAILABLE])
def test_a_required_component_that_failed_is_an_error(status: Status) -> None:
    assert verdict([Piece(Status.READY), Piece(Status.LOADING, attempt=1), Piece(status)]) is State.ERROR


def test_a_required_component_that_sleeps_is_not_ready_and_not_loading() -> None:
    assert verdict([Piece(Status.SLEEPING, attempt=1)]) is State.INITIALIZING


def test_a_required_component_that_drains_drains_the_whole() -> None:
    assert verdict([Piece(Status.DRAINING), Piece(Status.READY)]) is State.DRAINING


def test_a_server_that_died_after_start_leaves_the_whole_ready() -> None:
    died = Piece(Status.ERROR, gates=Gates.START, was_ready=True)
    assert verdict([died]) is State.READY


def test_a_server_that_never_came_is_an_error() -> None:
    assert verdict([Piece(Status.ERROR, gates=Gates.START)]) is State.ERROR


def test_a_local_model_that_died_after_start_is_an_error() -> None:
    assert verdict([Piece(Status.ERROR, was_ready=True)]) is State.ERROR


@given(st.lists(pieces, max_size=5))
def test_ready_means_that_nothing_holds_it_back(parts: list[Piece]) -> None:
    assert (verdict(parts) is State.READY) == (bool(parts) and not any(holds_back(part) for part in parts))


@given(st.lists(pieces, max_size=5), pieces)
def test_one_more_optional_component_never_takes_readiness_away(parts: list[Piece], more: Piece) -> None:
    optional = Piece(more.status, required=False, gates=more.gates, attempt=more.attempt)
    if verdict(parts) is State.READY:
        assert verdict([*parts, optional]) is State.READY


@given(st.lists(pieces, max_size=5))
def test_the_order_of_components_does_not_matter(parts: list[Piece]) -> None:
    assert verdict(parts) is verdict(list(reversed(parts)))
