"""A component: the only setter of its state."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import ManualClock
from glowplug.errors import Draining
from glowplug.readiness import (
    Board,
    Component,
    Deadlines,
    ErrorClass,
    Failure,
    Gates,
    History,
    MemoryHistories,
    Status,
    Transition,
)
from glowplug.readiness.progress import LONGEST_WORDS
from glowplug.readiness.state import TRANSITIONS


@pytest.fixture
def tts(board: Board) -> Component:
    return board.add("tts", model="xtts", device="cuda:0")


async def test_a_load_goes_through_its_states(tts: Component, clock: ManualClock) -> None:
    assert tts.status is Status.PENDING
    assert tts.begin() == 1
    assert tts.status is Status.LOADING
    tts.stage("fetch")
    assert tts.status is Status.FETCHING
    tts.stage("read")
    assert tts.status is Status.LOADING
    tts.warming()
    assert tts.status is Status.WARMING
    tts.ready()
    assert tts.status is Status.READY
    assert tts.was_ready


async def test_loading_and_warm_up_are_timed_apart(tts: Component, clock: ManualClock) -> None:
    tts.begin()
    await clock.advance(4.0)
    tts.warming()
    await clock.advance(1.5)
    tts.ready()
    timings = tts.snapshot().timings
    assert (timings.load_time_ms, timings.warmup_time_ms) == (4000.0, 1500.0)
    assert timings.loaded_at is not None
    assert (clock.now() - timings.loaded_at).total_seconds() == pytest.approx(1.5)


async def test_without_a_warm_up_there_is_no_time_of_one(tts: Component, clock: ManualClock) -> None:
    tts.begin()
    await clock.advance(4.0)
    tts.ready()
    assert tts.snapshot().timings.warmup_time_ms is None
    assert tts.snapshot().timings.load_time_ms == 4000.0


async def test_each_transition_tells_how_long_the_state_before_lasted(
    tts: Component, clock: ManualClock, heard: list[Transition]
) -> None:
    await clock.advance(1.0)
    tts.begin()
    await clock.advance(4.0)
    tts.warming()
    await clock.advance(2.0)
    tts.ready()
    assert [(one.old, one.new, one.seconds, one.attempt) for one in heard if one.component == "tts"] == [
        ("pending", "loading", 1.0, 1),
        ("loading", "warming", 4.0, 1),
        ("warming", "ready", 2.0, 1),
    ]


def test_a_stage_named_before_any_attempt_begins_one(tts: Component) -> None:
    tts.stage("import")
    assert (tts.status, tts.attempt) == (Status.LOADING, 1)


def test_what_a_load_says_of_itself_is_bounded(tts: Component) -> None:
    tts.stage("x" * 10_000)
    tts.advance(done=1, total=2, unit="y" * 10_000, note="z" * 10_000)
    assert len(str(tts.snapshot().service())) < 10 * LONGEST_WORDS


def test_a_connection_that_simply_is_there_is_ready(tts: Component) -> None:
    tts.ready()
    assert (tts.status, tts.attempt) == (Status.READY, 1)


def test_a_failure_says_what_and_of_which_kind(tts: Component) -> None:
    tts.begin()
    tts.fail("Out of memory", ErrorClass.OUT_OF_MEMORY)
    snapshot = tts.snapshot()
    assert snapshot.status is Status.ERROR
    assert snapshot.failure == Failure("Out of memory", ErrorClass.OUT_OF_MEMORY, retryable=False)


@pytest.mark.parametrize(
    ("word", "kind", "retryable"),
    [
        ("transient", ErrorClass.TRANSIENT, True),
        ("permanent", ErrorClass.PERMANENT, False),
        ("out_of_memory", ErrorClass.OUT_OF_MEMORY, False),
        ("stalled", ErrorClass.STALLED, True),
        ("a word of the future", ErrorClass.PERMANENT, False),
    ],
)
def test_an_error_class_may_come_as_a_word(tts: Component, word: str, kind: ErrorClass, retryable: bool) -> None:
    tts.fail("x", word)
    failure = tts.snapshot().failure
    assert failure == Failure("x", kind, retryable)


def test_whether_a_retry_helps_can_be_said(tts: Component) -> None:
    tts.fail("no such file", "permanent", retryable=True)
    failure = tts.snapshot().failure
    assert failure is not None
    assert failure.retryable


def test_an_error_is_one_line_of_bounded_length(tts: Component) -> None:
    tts.fail("Traceback:\n  File x\n" + "y" * 5000)
    failure = tts.snapshot().failure
    assert failure is not None
    assert failure.error.startswith("Traceback: File x yyy")
    assert len(failure.error) == 500


def test_an_error_without_words_gets_some(tts: Component) -> None:
    tts.fail("  \n ")
    failure = tts.snapshot().failure
    assert failure == Failure("unknown error")


def test_a_retry_forgets_the_failure_and_starts_from_nothing(tts: Component) -> None:
    tts.begin()
    tts.stage("read")
    tts.advance(done=1, total=2)
    tts.fail("no")
    assert tts.begin() == 2
    snapshot = tts.snapshot()
    assert (snapshot.failure, snapshot.percent, snapshot.status) == (None, 0.0, Status.LOADING)


def test_the_caller_may_number_the_attempts(tts: Component) -> None:
    assert tts.begin(attempt=7) == 7
    assert tts.begin() == 8


def test_a_failed_load_keeps_showing_how_far_it_came(tts: Component) -> None:
    tts.stage("read")
    tts.advance(done=1, total=2)
    percent = tts.snapshot().percent
    tts.fail("no")
    assert tts.snapshot().percent == percent > 0


async def test_a_load_that_was_given_up_may_come_up_late(
    tts: Component, clock: ManualClock, heard: list[Transition]
) -> None:
    tts.begin()
    tts.fail("Model loading timeout", "stalled")
    await clock.advance(5.0)
    tts.ready()
    assert tts.status is Status.READY
    assert tts.snapshot().failure is None
    assert [one.new for one in heard if one.component == "tts"] == ["loading", "error", "loading", "ready"]


async def test_a_load_that_was_given_up_is_followed_but_stays_given_up(tts: Component, clock: ManualClock) -> None:
    tts.begin()
    tts.fail("Model loading timeout", "stalled")
    await clock.advance(2.0)
    tts.stage("read")
    await clock.advance(3.0)
    tts.warming()
    assert tts.status is Status.ERROR
    await clock.advance(1.0)
    tts.ready()
    timings = tts.snapshot().timings
    assert (timings.load_time_ms, timings.warmup_time_ms) == (5000.0, 1000.0)


@pytest.mark.parametrize(
    "late",
    [
        lambda one: one.stage("read", attempt=1),
        lambda one: one.advance(done=1, total=1, attempt=1),
        lambda one: one.warming(attempt=1),
        lambda one: one.ready(attempt=1),
        lambda one: one.fail("too late", attempt=1),
        lambda one: one.alive(attempt=1),
    ],
)
def test_a_report_of_an_older_attempt_is_ignored(tts: Component, late: Callable[[Component], None]) -> None:
    tts.begin()
    tts.begin()
    before = tts.snapshot()
    late(tts)
    assert tts.snapshot() == before


@pytest.mark.parametrize(
    "late",
    [
        lambda one: one.stage("read"),
        lambda one: one.advance(done=1, total=1),
        lambda one: one.warming(),
        lambda one: one.ready(),
        lambda one: one.fail("too late"),
        lambda one: one.postpone("later"),
        lambda one: one.unavailable(),
        lambda one: one.alive(),
        lambda one: one.rewarmed(1.0),
    ],
)
def test_a_draining_component_listens_to_nothing_but_sleep(tts: Component, late: Callable[[Component], None]) -> None:
    tts.begin()
    tts.drain()
    before = tts.snapshot()
    late(tts)
    assert tts.snapshot() == before
    tts.sleep()
    assert tts.status is Status.SLEEPING


def test_a_draining_component_refuses_to_load(tts: Component) -> None:
    tts.drain()
    with pytest.raises(Draining, match="tts is draining"):
        tts.begin()


def test_what_failed_is_not_hidden_by_draining(tts: Component) -> None:
    tts.fail("Out of memory")
    tts.drain()
    assert tts.status is Status.ERROR


def test_stages_after_ready_are_ignored(tts: Component) -> None:
    tts.ready()
    before = tts.snapshot()
    tts.stage("read")
    tts.advance(done=1, total=2)
    tts.warming()
    assert tts.snapshot() == before


def test_warming_again_keeps_it_ready_and_tells_the_time(tts: Component) -> None:
    tts.ready()
    tts.rewarmed(0.25)
    snapshot = tts.snapshot()
    assert snapshot.status is Status.READY
    assert snapshot.timings.warmup_time_ms == 250.0


def test_what_is_not_ready_cannot_be_warmed_again(tts: Component) -> None:
    tts.begin()
    tts.rewarmed(0.25)
    assert tts.snapshot().timings.warmup_time_ms is None


def test_a_crashed_model_waits_for_its_next_attempt(tts: Component) -> None:
    tts.ready()
    tts.postpone("in 8 s (2 of 5)", "killed by signal 9")
    snapshot = tts.snapshot()
    assert (snapshot.status, snapshot.reason) == (Status.PENDING, "in 8 s (2 of 5)")
    assert snapshot.failure == Failure("killed by signal 9", ErrorClass.TRANSIENT, retryable=True)


def test_what_is_not_installed_says_so(tts: Component) -> None:
    tts.unavailable()
    assert (tts.status, tts.snapshot().reason) == (Status.UNAVAILABLE, "not_installed")


def test_a_sleeping_model_wakes_by_an_attempt(tts: Component) -> None:
    tts.sleep("idle")
    assert tts.snapshot().reason == "idle"
    tts.begin()
    assert tts.status is Status.LOADING
    assert tts.snapshot().reason is None


async def test_a_server_that_was_lost_and_is_back_teaches_no_load_time(clock: ManualClock) -> None:
    histories = MemoryHistories()
    ollama = Board(clock, histories).add("chat", gates="start", model="llama3.2")
    ollama.begin()
    await clock.advance(1.0)
    ollama.ready()
    await clock.advance(5000.0)
    ollama.fail("Ollama not responding", "transient")
    await clock.advance(5000.0)
    ollama.ready()
    assert [load.seconds for load in histories.past("llama3.2@").loads] == [1.0]


async def test_a_server_that_comes_late_teaches_no_load_time_either(clock: ManualClock) -> None:
    histories = MemoryHistories()
    ollama = Board(clock, histories).add("chat", model="llama3.2")
    ollama.fail("Ollama not responding", "transient")
    await clock.advance(5000.0)
    ollama.ready()
    assert histories.past("llama3.2@") == History()


async def test_the_next_load_is_estimated_from_the_last(tts: Component, clock: ManualClock) -> None:
    assert tts.snapshot().estimate is None
    for _ in range(2):
        tts.begin()
        estimate = tts.snapshot().estimate
        await clock.advance(10.0)
        tts.ready()
    assert estimate is not None
    assert estimate.p50_seconds == pytest.approx(10.0, rel=0.15)


async def test_a_model_that_waits_for_its_turn_knows_how_long_it_will_take(clock: ManualClock) -> None:
    histories = MemoryHistories()
    first = Board(clock, histories).add("tts", model="xtts")
    first.begin()
    await clock.advance(10.0)
    first.ready()
    waiting = Board(clock, histories).add("tts", model="xtts").snapshot()
    assert waiting.status is Status.PENDING
    assert waiting.estimate is not None
    assert waiting.weight_seconds == pytest.approx(10.0)


def test_progress_and_words_are_seen_while_loading_only(tts: Component) -> None:
    assert tts.snapshot().progress is None
    tts.stage("read")
    tts.advance(done=1e9, total=4e9, unit="bytes", note="net")
    progress = tts.snapshot().progress
    assert progress is not None
    assert progress.words == "Reading weights, 1.0 of 4.0 GB (net)"
    tts.ready()
    assert tts.snapshot().progress is None
    assert tts.snapshot().percent == 100.0


def test_a_counter_before_any_attempt_is_ignored(tts: Component) -> None:
    tts.advance(done=1, total=2)
    assert tts.status is Status.PENDING


async def test_a_million_small_reports_wake_nobody_for_each(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts")
    tts.stage("read")
    before = board.snapshot().version
    for done in range(5000):
        tts.advance(done=done, total=5000)
    assert board.snapshot().version - before <= 101


async def test_a_slow_counter_is_told_of_all_the_same(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts")
    tts.stage("read")
    for done in range(10):
        before = board.snapshot().version
        tts.advance(done=done, total=1_000_000)
        assert board.snapshot().version > before
        await clock.advance(1.0)


def test_a_repeated_failure_is_told_once(board: Board, heard: list[Transition]) -> None:
    chat = board.add("chat")
    chat.fail("Ollama not responding", "transient")
    version, told = board.snapshot().version, len(heard)
    chat.fail("Ollama not responding", "transient")
    assert (board.snapshot().version, len(heard)) == (version, told)
    chat.fail("Ollama refuses", "transient")
    assert board.snapshot().version > version


async def test_the_stall_deadline_moves_with_every_sign_of_life(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts", deadlines=Deadlines(stall_seconds=10))
    assert tts.deadline() is None
    tts.begin()
    for sign in (tts.alive, lambda: tts.stage("read"), lambda: tts.advance(done=1, total=2)):
        await clock.advance(9.0)
        assert not tts.stalled()
        sign()
        assert tts.deadline() == clock.monotonic() + 10
    await clock.advance(10.0)
    assert tts.stalled()
    assert not tts.stalled(now=clock.monotonic() - 1)


async def test_an_overdue_load_fails_with_the_words_of_the_contract(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts", deadlines=Deadlines(startup_seconds=5))
    tts.begin()
    await clock.advance(4.0)
    assert tts.expire() is None
    await clock.advance(1.0)
    assert tts.expire() == Failure("Model loading timeout", ErrorClass.STALLED, retryable=True)
    assert tts.status is Status.ERROR
    assert tts.expire() is None


async def test_what_does_not_load_is_never_overdue(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts", deadlines=Deadlines(startup_seconds=5))
    await clock.advance(100.0)
    assert tts.expire() is None
    tts.ready()
    await clock.advance(100.0)
    assert tts.expire() is None
    assert not tts.stalled()


async def test_a_listener_that_fails_leaves_the_board_right(clock: ManualClock) -> None:
    def sink(transition: Transition) -> None:
        if transition.component and transition.new == "ready":
            raise RuntimeError("the sink is full")

    board = Board(clock, on_transition=sink)
    tts = board.add("tts")
    with pytest.raises(RuntimeError, match="the sink is full"):
        tts.ready()
    assert board.is_ready()


def test_a_listener_may_look_at_the_board(clock: ManualClock) -> None:
    seen: list[bool] = []
    board = Board(clock, on_transition=lambda _: seen.append(board.is_ready()))
    board.add("tts").ready()
    assert seen[-1]


def test_names_for_people(board: Board) -> None:
    labels = [board.add(name).snapshot().label for name in ("tts", "chat")]
    assert labels == ["TTS", "Chat"]
    assert board.add("x", label="Voice").snapshot().label == "Voice"


def test_gates_come_as_words_too(board: Board) -> None:
    assert board.add("chat", gates="start").gates is Gates.START


def test_reports_from_many_threads_at_once_lose_nothing(board: Board) -> None:
    components = [board.add(f"model-{number}") for number in range(8)]
    start = threading.Barrier(len(components))

    def load(component: Component) -> None:
        start.wait(20)
        component.begin()
        for done in range(200):
            component.stage("read")
            component.advance(done=done, total=200)
            board.snapshot()
        component.warming()
        component.ready()

    threads = [threading.Thread(target=load, args=(component,)) for component in components]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert board.is_ready()


REPORTS: dict[str, Callable[[Component], Any]] = {
    "begin": lambda one: one.begin(),
    "start": lambda one: one.stage("start"),
    "fetch": lambda one: one.stage("fetch"),
    "read": lambda one: one.stage("read"),
    "half": lambda one: one.advance(done=1, total=2),
    "more": lambda one: one.advance(done=2, total=5),
    "warming": lambda one: one.warming(),
    "ready": lambda one: one.ready(),
    "fail": lambda one: one.fail("no"),
    "postpone": lambda one: one.postpone("later", "no"),
    "unavailable": lambda one: one.unavailable(),
    "sleep": lambda one: one.sleep(),
    "expire": lambda one: one.expire(now=1e9),
}


@given(st.lists(st.sampled_from(sorted(REPORTS))))
def test_whatever_happens_every_transition_is_in_the_table(reports: list[str]) -> None:
    heard: list[Transition] = []
    component = Board(ManualClock(), on_transition=heard.append).add("tts")
    for report in reports:
        REPORTS[report](component)
    passed = [one for one in heard if one.component]
    assert all(Status(one.new) in TRANSITIONS[Status(one.old)] for one in passed)
    assert all(before.new == after.old for before, after in itertools.pairwise(passed))
    assert component.status == (passed[-1].new if passed else "pending")


@given(st.lists(st.sampled_from(sorted(REPORTS))))
def test_whatever_happens_progress_never_goes_back_within_a_load(reports: list[str]) -> None:
    component = Board(ManualClock()).add("tts")
    attempt, shown = component.attempt, 0.0
    for report in reports:
        REPORTS[report](component)
        snapshot = component.snapshot()
        if snapshot.attempt == attempt and snapshot.status.is_running:
            assert snapshot.percent >= shown
        assert (snapshot.percent == 100.0) == snapshot.status.can_serve
        attempt, shown = snapshot.attempt, snapshot.percent


@given(st.lists(st.sampled_from(sorted(REPORTS))))
def test_whatever_happens_the_board_and_its_picture_agree(reports: list[str]) -> None:
    board = Board(ManualClock())
    component = board.add("tts")
    for report in reports:
        REPORTS[report](component)
        snapshot = board.snapshot()
        assert board.state is snapshot.state
        assert snapshot.ready == component.status.can_serve
        assert (snapshot.progress == 100) == snapshot.ready
