"""The board: one verdict that everybody asks."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import ManualClock
from glowplug.errors import Conflict, NotFound
from glowplug.readiness import Board, HistoryFile, MemoryHistories, State, Status, Transition


def test_an_empty_board_is_not_ready(board: Board) -> None:
    assert board.state is State.INITIALIZING
    assert not board.is_ready()


def test_components_are_known_by_name_in_order(board: Board) -> None:
    tts, chat = board.add("tts"), board.add("chat", required=False)
    assert board.components == (tts, chat)
    assert board.component("chat") is chat


def test_a_name_is_given_once(board: Board) -> None:
    board.add("tts")
    with pytest.raises(Conflict, match="'tts' already"):
        board.add("tts")


def test_a_name_nobody_has_is_told(board: Board) -> None:
    with pytest.raises(NotFound):
        board.component("tts")
    with pytest.raises(NotFound):
        board.remove("tts")


def test_a_component_that_was_taken_off_counts_no_more(board: Board) -> None:
    board.add("tts").ready()
    board.add("chat")
    assert not board.is_ready()
    board.remove("chat")
    assert board.is_ready()


def test_the_verdict_follows_the_components(board: Board) -> None:
    tts, chat = board.add("tts"), board.add("chat")
    tts.begin()
    assert board.state is State.LOADING_MODELS
    tts.ready()
    chat.begin()
    chat.warming()
    assert board.state is State.WARMING_UP
    chat.ready()
    assert board.state is State.READY


def test_a_crash_after_ready_leads_back_to_loading(board: Board) -> None:
    tts = board.add("tts")
    tts.ready()
    tts.postpone("in 1 s (1 of 5)", "killed by signal 9")
    assert board.state is State.LOADING_MODELS
    tts.begin()
    assert board.state is State.LOADING_MODELS
    tts.ready()
    assert board.is_ready()


def test_a_server_that_dies_after_start_leaves_the_board_ready(board: Board) -> None:
    board.add("tts").ready()
    chat = board.add("chat", gates="start", model="llama3.2")
    assert not board.is_ready()
    chat.ready()
    chat.fail("Ollama not responding", "transient")
    assert board.is_ready()
    assert not board.is_ready("chat")
    body = board.snapshot().api_ready()
    assert body["services"]["chat"]["error"] == "Ollama not responding"
    assert body["progress"] == 100


async def test_the_whole_tells_its_transitions_too(board: Board, clock: ManualClock, heard: list[Transition]) -> None:
    tts = board.add("tts")
    await clock.advance(1.0)
    tts.begin()
    await clock.advance(5.0)
    tts.ready()
    assert [(one.old, one.new, one.seconds) for one in heard if not one.component] == [
        ("INITIALIZING", "LOADING_MODELS", 1.0),
        ("LOADING_MODELS", "READY", 5.0),
    ]


async def test_the_startup_time_is_known_once_ready_and_stays(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts")
    await clock.advance(1.5)
    assert board.snapshot().startup_time_ms is None
    tts.ready()
    assert board.snapshot().startup_time_ms == 1500.0
    await clock.advance(60.0)
    tts.begin()
    tts.ready()
    assert board.snapshot().startup_time_ms == 1500.0


def test_every_change_has_a_higher_version(board: Board) -> None:
    versions = [board.snapshot().version]
    tts = board.add("tts")
    for report in (tts.begin, lambda: tts.stage("read"), tts.warming, tts.ready, board.drain):
        versions.append(board.snapshot().version)
        report()
    assert all(before < after for before, after in itertools.pairwise(versions))


def test_no_version_stands_for_two_states(clock: ManualClock) -> None:
    """Whoever keeps what he saw by its version is right even while a transition is being logged."""
    seen: set[tuple[int, str]] = set()
    board = Board(clock, on_transition=lambda _: seen.add((board.version, board.snapshot().state.value)))
    tts, chat = board.add("tts"), board.add("chat")
    steps = (tts.begin, chat.begin, tts.warming, chat.warming, tts.ready, chat.ready, lambda: chat.fail("gone"))
    for step in (*steps, chat.begin, chat.ready, board.drain):
        seen.add((board.version, board.snapshot().state.value))
        step()
    assert len(dict(seen)) == len(seen)


def test_looking_changes_nothing(board: Board) -> None:
    board.add("tts").begin()
    assert board.snapshot() == board.snapshot()


async def test_versions_go_on_after_a_restart(clock: ManualClock) -> None:
    before = Board(clock)
    before.add("tts").ready()
    await clock.advance(1.0)
    assert Board(clock).snapshot().version > before.snapshot().version


async def test_a_wall_clock_that_jumps_does_not_touch_times(board: Board, clock: ManualClock) -> None:
    tts = board.add("tts")
    tts.begin()
    await clock.advance(2.0)
    clock.jump(clock.now().replace(year=2020))
    tts.ready()
    assert tts.snapshot().timings.load_time_ms == 2000.0
    assert board.snapshot().startup_time_ms == 2000.0


def test_draining_ends_readiness_for_good(board: Board) -> None:
    tts, chat = board.add("tts"), board.add("chat", required=False)
    tts.ready()
    chat.fail("Out of memory")
    board.drain()
    assert board.state is State.DRAINING
    assert (tts.status, chat.status) == (Status.DRAINING, Status.ERROR)
    tts.ready()
    assert not board.is_ready()
    board.drain()
    assert board.snapshot().api_ready()["state"] == "DRAINING"


def test_a_board_without_components_can_drain(board: Board) -> None:
    board.drain()
    assert board.state is State.DRAINING


def test_whether_there_is_an_accelerator_may_be_told(clock: ManualClock) -> None:
    assert Board(clock, gpu_available=True).snapshot().gpu_available
    assert not Board(clock).snapshot().gpu_available


async def test_progress_of_the_whole_stays_when_the_weights_change(clock: ManualClock) -> None:
    histories = MemoryHistories()
    for name, seconds in (("short", 1.0), ("long", 100.0)):
        past = Board(clock, histories).add(name)
        past.begin()
        await clock.advance(seconds)
        past.ready()
    board = Board(clock, histories)
    board.add("short").ready()
    first = board.add("new")
    first.begin()
    shown = board.snapshot().progress
    board.add("long")
    assert board.snapshot().progress >= shown


async def test_a_reload_starts_the_progress_anew(board: Board) -> None:
    tts = board.add("tts")
    tts.stage("warm up")
    assert board.snapshot().progress > 50
    tts.fail("no")
    assert board.snapshot().progress > 50
    tts.begin()
    assert board.snapshot().progress < 50


async def test_the_past_is_remembered_across_boards(clock: ManualClock, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for expected in (None, 10):
        tts = Board(clock, HistoryFile(tmp_path / "history.json")).add("tts", model="xtts", device="cpu")
        tts.begin()
        found = tts.snapshot().estimated_seconds
        assert found is None if expected is None else found in range(expected - 2, expected + 3)
        await clock.advance(10.0)
        tts.ready()


async def test_a_load_in_a_thread_is_watched_from_the_loop(board: Board) -> None:
    digits = board.add("digits", model="digits", device="cpu")
    go = threading.Event()

    def load() -> None:
        attempt = digits.begin()
        for stage in ("import", "read"):
            digits.stage(stage, attempt=attempt)
            go.wait(20)
        for done in range(0, 1001, 10):
            digits.advance(done=done, total=1000, unit="bytes", attempt=attempt)
        digits.warming(attempt=attempt)
        digits.ready(attempt=attempt)

    thread = threading.Thread(target=load)
    shown: list[int] = []
    async with asyncio.timeout(20), board.subscribe() as news:
        thread.start()
        async for one in news:
            shown.append(one.progress)
            go.set()
            if one.ready:
                break
    await asyncio.to_thread(thread.join, 20)
    assert shown == sorted(shown)
    assert shown[-1] == 100


reports = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["import", "read", "half", "warm up", "ready", "more"])), max_size=40
)


@given(reports)
def test_progress_of_the_whole_never_goes_back_within_a_load(happened: list[tuple[int, str]]) -> None:
    board = Board(ManualClock())
    components = [board.add(name) for name in ("a", "b", "c")]
    shown = [board.snapshot().progress]
    for number, what in happened:
        component = components[number]
        if what == "ready":
            component.ready()
        elif what in ("half", "more"):
            component.advance(done=1 if what == "half" else 2, total=2 if what == "half" else 9)
        else:
            component.stage(what)
        shown.append(board.snapshot().progress)
    assert shown == sorted(shown)
    assert (shown[-1] == 100) == board.is_ready()


def test_a_renewed_board_begins_anew_and_hears_nobody_of_the_life_before(board: Board) -> None:
    old = board.add("tts", gates="start")
    old.begin()
    old.ready()
    version = board.snapshot().version
    board.drain()
    board.renew()
    new = board.component("tts")
    assert (board.state, new.status, new.attempt, new.was_ready) == (State.INITIALIZING, Status.PENDING, 0, False)
    assert board.snapshot().startup_time_ms is None
    assert board.snapshot().version > version
    old.ready()
    assert not board.is_ready()
    new.begin()
    new.ready()
    assert board.is_ready()


async def test_a_model_that_names_itself_is_shown_by_that_name_and_keeps_its_past_loads() -> None:
    clock, histories = ManualClock(), MemoryHistories()
    for _ in range(2):
        board = Board(clock, histories)
        component = board.add("file", model="file", device="cpu")
        known = component.snapshot().estimate is not None
        component.begin()
        board.rename("file", "captioner")
        await clock.advance(10)
        component.ready()
        assert component.snapshot().model == "captioner"
    assert known
