"""Many workers' pictures into one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import ManualClock
from glowplug.readiness import MergedBoard, Snapshot, State, Status, merge
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.estimate import Estimate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def worker(
    status: Status, *, name: str = "digits", percent: float = 0.0, required: bool = True, **more: Any
) -> Snapshot:
    estimate = Estimate(5.0, 10.0, 20.0) if status.is_running else None
    fields: dict[str, Any] = {"attempt": 1, "required": required, "estimate": estimate, **more}
    component = ComponentSnapshot(name, status=status, model=name, percent=percent, **fields)
    return Snapshot.of([component], taken_at=NOW)


def joined(*snapshots: Snapshot) -> Snapshot:
    return merge(snapshots, version=1, taken_at=NOW)


def test_without_workers_nothing_is_ready() -> None:
    assert joined().state is State.INITIALIZING
    assert not joined().ready


@pytest.mark.parametrize("other", Status)
def test_a_model_is_ready_when_one_worker_has_it_ready(other: Status) -> None:
    assert joined(worker(other), worker(Status.READY), worker(other)).ready


def test_the_progress_is_that_of_the_furthest() -> None:
    assert joined(worker(Status.LOADING, percent=20), worker(Status.LOADING, percent=70)).progress == 70


@pytest.mark.parametrize("failed", [Status.ERROR, Status.UNAVAILABLE, Status.DRAINING])
def test_a_model_that_still_may_come_has_not_failed(failed: Status) -> None:
    assert joined(worker(failed), worker(Status.LOADING)).state is State.LOADING_MODELS


def test_a_model_that_sleeps_somewhere_has_not_failed() -> None:
    assert joined(worker(Status.ERROR), worker(Status.SLEEPING)).find("digits") is not None
    assert joined(worker(Status.ERROR), worker(Status.SLEEPING)).state is State.INITIALIZING


def test_a_model_that_failed_everywhere_has_failed() -> None:
    assert joined(worker(Status.ERROR), worker(Status.ERROR)).state is State.ERROR


def test_different_models_are_judged_together() -> None:
    one = joined(worker(Status.READY), worker(Status.LOADING, name="speech", percent=50))
    assert one.state is State.LOADING_MODELS
    assert [component.name for component in one.components] == ["digits", "speech"]


def test_what_one_worker_requires_is_required() -> None:
    furthest = worker(Status.LOADING, percent=50, required=False)
    assert joined(furthest, worker(Status.LOADING)).progress == 50
    assert not joined(worker(Status.LOADING, required=False), worker(Status.ERROR)).ready


def test_a_workers_own_connections_are_its_own_affair() -> None:
    connection = ComponentSnapshot("queue", status=Status.ERROR)
    ready = worker(Status.READY)
    both = Snapshot.of([*ready.components, connection], taken_at=NOW)
    assert joined(both).ready
    assert joined(both).find("queue") is None


def test_one_accelerator_anywhere_is_one() -> None:
    with_one = Snapshot.of(worker(Status.READY).components, taken_at=NOW, gpu_available=True)
    assert joined(worker(Status.READY), with_one).gpu_available
    assert not joined(worker(Status.READY)).gpu_available


statuses = st.lists(st.sampled_from(Status), min_size=1, max_size=6)


@given(statuses)
def test_the_order_of_workers_does_not_matter(several: list[Status]) -> None:
    snapshots = [worker(status) for status in several]
    assert joined(*snapshots) == joined(*reversed(snapshots))


@given(statuses)
def test_one_worker_more_never_takes_readiness_away(several: list[Status]) -> None:
    snapshots = [worker(status) for status in several]
    assert joined(*snapshots).ready == (Status.READY in several)


async def test_a_board_of_workers_follows_their_reports() -> None:
    board = MergedBoard(ManualClock())
    assert not board.is_ready()
    board.report("one", worker(Status.LOADING, percent=40))
    assert board.snapshot().progress == 40
    board.report("two", worker(Status.READY))
    assert board.is_ready()
    assert board.is_ready("digits")
    board.forget("two")
    assert board.snapshot().progress == 40


async def test_forgetting_a_stranger_is_no_news() -> None:
    board = MergedBoard(ManualClock())
    before = board.snapshot().version
    board.forget("nobody")
    assert board.snapshot().version == before


async def test_a_report_grows_older_until_the_next_comes() -> None:
    clock = ManualClock()
    board = MergedBoard(clock)
    board.report("one", worker(Status.LOADING))
    await clock.advance(4.0)
    assert board.snapshot().estimated_seconds == 6
    board.report("one", worker(Status.LOADING))
    assert board.snapshot().estimated_seconds == 10


async def test_watchers_hear_of_every_report() -> None:
    board = MergedBoard(ManualClock())
    async with asyncio.timeout(20), board.subscribe() as news:
        first = await anext(news)
        board.report("one", worker(Status.READY))
        second = await anext(news)
        board.forget("one")
        third = await anext(news)
    assert [one.ready for one in (first, second, third)] == [False, True, False]
    assert first.version < second.version < third.version


class TestProgress:
    def test_a_model_that_turns_out_to_weigh_much_does_not_take_it_back(self) -> None:
        board = MergedBoard(ManualClock())
        board.report("one", worker(Status.LOADING, name="quick", percent=50))
        board.report("two", worker(Status.LOADING, name="slow", percent=0))
        shown = board.snapshot().progress
        board.report("two", worker(Status.LOADING, name="slow", percent=1, weight_seconds=60.0))
        assert board.snapshot().progress == shown == 25
        board.report("two", worker(Status.LOADING, name="slow", percent=80, weight_seconds=60.0))
        assert board.snapshot().progress > shown

    def test_a_new_attempt_begins_at_its_own_progress(self) -> None:
        board = MergedBoard(ManualClock())
        board.report("one", worker(Status.LOADING, percent=90))
        assert board.snapshot().progress == 90
        board.report("one", worker(Status.LOADING, percent=5, attempt=2))
        assert board.snapshot().progress == 5

    def test_so_does_a_worker_that_was_started_anew(self) -> None:
        board = MergedBoard(ManualClock())
        board.report("one", worker(Status.LOADING, percent=90))
        assert board.snapshot().progress == 90
        board.report("one", worker(Status.LOADING, percent=5))
        assert board.snapshot().progress == 5

    def test_and_one_that_takes_the_place_of_another(self) -> None:
        board = MergedBoard(ManualClock())
        board.report("one", worker(Status.LOADING, percent=90))
        assert board.snapshot().progress == 90
        board.forget("one")
        board.report("two", worker(Status.LOADING, percent=5))
        assert board.snapshot().progress == 5

    def test_after_having_been_ready_it_begins_from_nothing(self) -> None:
        board = MergedBoard(ManualClock())
        board.report("one", worker(Status.READY, percent=100))
        assert board.snapshot().progress == 100
        board.report("one", worker(Status.LOADING, percent=10, attempt=2))
        assert board.snapshot().progress == 10


async def test_a_worker_that_says_the_same_again_is_no_news() -> None:
    clock = ManualClock()
    board = MergedBoard(clock)
    board.report("a", worker(Status.READY))
    seen = board.version
    board.report("a", replace(worker(Status.READY), version=77, taken_at=datetime(2026, 2, 1, tzinfo=UTC)))
    assert board.version == board.snapshot().version == seen
    board.report("a", worker(Status.ERROR))
    assert board.version > seen


async def test_a_worker_that_says_the_same_again_is_no_older_for_it() -> None:
    clock = ManualClock()
    board = MergedBoard(clock)
    board.report("a", worker(Status.LOADING))
    await clock.advance(4)
    board.report("a", worker(Status.LOADING))
    await clock.advance(1)
    estimate = board.snapshot().estimate
    assert estimate is not None
    assert estimate.p50_seconds == 9.0
