"""Progress inside a stage: never backwards, in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.readiness.progress import Progress, Stage, status_of
from glowplug.readiness.state import Status
from glowplug.readiness.wire import Reader

numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("start", Status.LOADING),
        ("import", Status.LOADING),
        ("fetch", Status.FETCHING),
        ("read", Status.LOADING),
        ("to device", Status.LOADING),
        ("warm up", Status.WARMING),
        ("compile", Status.LOADING),
    ],
)
def test_each_stage_has_its_status_and_own_names_count_as_loading(stage: str, status: Status) -> None:
    assert status_of(stage) is status


def test_the_share_done_is_unknown_while_the_end_is() -> None:
    assert Progress("read").fraction is None
    assert Progress("read", done=5).fraction is None
    assert Progress("read", done=5, total=0).fraction is None


def test_the_share_done_is_never_more_than_all() -> None:
    assert Progress("read", done=1, total=4).fraction == 0.25
    assert Progress("read", done=9, total=4).fraction == 1.0


def test_a_report_changes_what_it_says_and_nothing_else() -> None:
    first = Progress("read").advanced(done=1, total=4, unit="bytes", note="net")
    assert first == Progress("read", 1, 4, "bytes", "net")
    assert first.advanced(done=2) == Progress("read", 2, 4, "bytes", "net")
    assert first.advanced(note="") == Progress("read", 1, 4, "bytes", "")


def test_done_never_runs_backwards() -> None:
    assert Progress("read", done=5).advanced(done=3).done == 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_numbers_that_are_none_leave_things_as_they_are(value: float) -> None:
    before = Progress("read", 1, 4)
    assert before.advanced(done=value, total=value) == before


@given(st.lists(st.tuples(numbers, numbers)))
def test_whatever_is_reported_done_only_grows_and_stays_a_number(
    reports: list[tuple[float | None, float | None]],
) -> None:
    progress = Progress("read")
    for done, total in reports:
        after = progress.advanced(done, total)
        assert after.done >= progress.done
        assert math.isfinite(after.done)
        assert after.total is None or math.isfinite(after.total)
        assert after.fraction is None or 0.0 <= after.fraction <= 1.0
        progress = after


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress("import"), "Importing libraries"),
        (Progress("read", 4.1e9, 9.8e9, "bytes"), "Reading weights, 4.1 of 9.8 GB"),
        (Progress("fetch", 0, 512, "bytes"), "Downloading weights, 0 of 512 B"),
        (Progress("fetch", 5e14, 2e15, "bytes"), "Downloading weights, 500.0 of 2000.0 TB"),
        (Progress("compile", 3, 12, "graphs"), "Compile, 3 of 12 graphs"),
        (Progress("compile", 3, 12), "Compile, 3 of 12"),
        (Progress("warm up", note="first image"), "Warming up (first image)"),
    ],
)
def test_progress_reads_as_a_sentence(progress: Progress, words: str) -> None:
    assert progress.words == words


def test_two_counts_of_the_same_thing_are_alike_however_far() -> None:
    assert Progress("read", 1, 4, "bytes").counts_like(Progress("read", 3, 4, "bytes"))
    assert not Progress("read", 1, 4, "bytes").counts_like(Progress("read", 1, 5, "bytes"))
    assert not Progress("read", 1, 4, note="a").counts_like(Progress("read", 1, 4, note="b"))


@pytest.mark.parametrize("progress", [Progress(Stage.START), Progress("read", 1, 4, "bytes", "net")])
def test_progress_survives_the_wire(progress: Progress) -> None:
    assert Progress.read(Reader(progress.to_dict(), "progress")) == progress
