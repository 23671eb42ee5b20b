"""The parts that decide without acting, and the ones that only wait."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.desks import ScriptedLink
from tests.unit.runtime.rig import Events, FakeHost, piece

from glowplug import events
from glowplug.artifact import Artifact
from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import (
    BugError,
    Conflict,
    DeadlineExceeded,
    DiskFull,
    Draining,
    GlowplugError,
    InvalidInput,
    LeaseLost,
    LoadFailed,
    ModelCrashed,
    NotReady,
    RemoteError,
    TaskFailed,
    TooLarge,
    Unauthorized,
    UnknownTask,
    Unreachable,
)
from glowplug.job import Checkpoint, OutcomeKind
from glowplug.link import Renew, Renewed
from glowplug.process.call import CallEnd
from glowplug.readiness import Board
from glowplug.runtime.backoff import Backoff, until_reached
from glowplug.runtime.bell import Bell
from glowplug.runtime.directory import Directory
from glowplug.runtime.inputs import file_keys, is_worth_resuming
from glowplug.runtime.outcomes import failed, failure_of, outcome_of
from glowplug.runtime.problem import problem, retry_after
from glowplug.runtime.scratch import disk_error, remove, sweep, write_chunks
from glowplug.runtime.uplink import Uplink, is_refusal
from glowplug.runtime.uploads import Uploads
from glowplug.store import ModelInfo, TaskInfo

# Back-off.


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_grows_with_the_failures_and_stays_below_the_cap(failures: int, dice: float) -> None:
    backoff = Backoff(0.1, 2.0, lambda: dice)
    assert 0 <= backoff.delay_seconds(failures) <= min(2.0, 0.1 * 2 ** (min(failures, 30) - 1))


def test_the_pauses_at_worst_are_the_documented_ones() -> None:
    backoff = Backoff(0.1, 2.0, lambda: 1.0)
    assert [round(backoff.delay_seconds(n), 3) for n in range(1, 8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


async def test_it_is_tried_until_somebody_answers_and_an_answer_may_be_an_error() -> None:
    faults: list[GlowplugError] = [Unreachable("a"), DeadlineExceeded("b"), DiskFull("c")]

    async def attempt() -> None:
        raise faults.pop(0)

    with pytest.raises(DiskFull):
        await until_reached(attempt, SystemClock(), Backoff(0.001, 0.001))
    assert faults == []


# The bell.


async def test_a_ring_before_the_wait_counts_and_many_rings_wake_once() -> None:
    bell = Bell(ManualClock())
    bell.ring()
    bell.ring()
    assert await bell.wait(10)
    assert not await bell.wait(0)


async def test_a_wait_ends_with_its_time() -> None:
    clock = ManualClock()
    bell = Bell(clock)
    waiting = asyncio.create_task(bell.wait(5))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert not await waiting


@pytest.mark.parametrize("seconds", [5.0, None])
async def test_a_ring_ends_a_wait_at_once(seconds: float | None) -> None:
    clock = ManualClock()
    bell = Bell(clock)
    waiting = asyncio.create_task(bell.wait(seconds))
    await clock.advance(0)
    bell.ring()
    assert await waiting


async def test_a_hushed_ring_is_forgotten() -> None:
    bell = Bell(ManualClock())
    bell.ring()
    bell.hush()
    assert not await bell.wait(0)


# Outcomes.


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (InvalidInput("n: too big"), "invalid_input", False),
        (TaskFailed("boom", error_class="ValueError"), "ValueError", True),
        (TaskFailed("boom"), "task_failed", True),
        (TaskFailed("boom", retryable=False), "task_failed", False),
        (ModelCrashed("died", exit=-9), "model_crashed", True),
        (DeadlineExceeded("too slow"), "deadline_exceeded", True),
        (DiskFull("no room"), "disk_full", True),
        (BugError("oops"), "bug", True),
        (UnknownTask("gone", retryable=True), "unknown_task", True),
    ],
)
def test_what_an_error_means_for_another_try(error: GlowplugError, code: str, retryable: bool) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.message, failure.retryable) == (code, error.message, retryable)
    assert "retryable" not in failure.details


def test_an_error_keeps_its_data() -> None:
    assert failure_of(ModelCrashed("died", exit=-9)).details == {"exit": -9}


@pytest.mark.parametrize("error", [NotReady("loading"), LoadFailed("no"), Draining("leaving")])
def test_a_model_that_was_not_ready_never_had_the_job(error: NotReady) -> None:
    assert failed(error).kind is OutcomeKind.INTERRUPTED


@pytest.mark.parametrize(
    "kind", [OutcomeKind.CRASHED, OutcomeKind.DISPLACED, OutcomeKind.CANCELED, OutcomeKind.INTERRUPTED]
)
def test_an_end_without_a_result_keeps_its_kind(kind: OutcomeKind) -> None:
    assert outcome_of(CallEnd(kind), {}).kind is kind


def test_a_result_names_the_artifacts_as_they_were_stored() -> None:
    said, stored = Artifact("jobs/a/1/x.png", 0, ""), Artifact("jobs/a/1/x.png", 9, "f" * 64, "image/png")
    outcome = outcome_of(CallEnd(OutcomeKind.COMPLETED, b'{"a": 1}', (said,)), {stored.key: stored})
    assert (outcome.result, outcome.artifacts) == ({"a": 1}, (stored,))


def test_a_failure_without_an_error_says_so() -> None:
    outcome = outcome_of(CallEnd(OutcomeKind.FAILED), {})
    assert outcome.failure is not None
    assert outcome.failure.code == "task_failed"


# Inputs.


def test_only_what_can_be_a_key_is_fetched() -> None:
    said = ["inputs/1/a.png", " a vase", "../up", "/etc/passwd", "a//b", "x" * 600, "ok"]
    assert file_keys(said) == ["inputs/1/a.png", "ok"]


def test_a_checkpoint_is_worth_its_model_version() -> None:
    checkpoint = Checkpoint(3, Artifact("jobs/a/1/checkpoints/3", 1, "0" * 64), "2")
    restart, refuse = TaskInfo("m.t"), TaskInfo("m.t", on_new_version="refuse")
    same, other = ModelInfo("m", "2", (restart,)), ModelInfo("m", "3", (restart,))
    assert is_worth_resuming(checkpoint, same, refuse)
    assert not is_worth_resuming(checkpoint, other, restart)
    with pytest.raises(Conflict, match="of m 2, the worker runs 3"):
        is_worth_resuming(checkpoint, other, refuse)


# Scratch.


async def test_a_sweep_makes_the_folder_and_removes_all_that_was_left(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "scratch"
    await sweep(root)
    (root / "job").mkdir()
    (root / "job" / "file").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (root / "link").symlink_to(outside)
    await sweep(root)
    assert list(root.iterdir()) == []
    assert (outside / "kept").exists()


async def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    await remove(tmp_path / "nothing")
    folder = tmp_path / "something"
    folder.mkdir()
    await remove(folder)
    assert not folder.exists()


async def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RemoteError, match="file"):
        await sweep(tmp_path / "file")
    with pytest.raises(RemoteError):
        await write_chunks(tmp_path / "file" / "below", piece(b"x"))


def test_a_full_disk_says_what_to_do() -> None:
    error = disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Path("/scratch/job/file"))
    assert isinstance(error, DiskFull)
    assert "free some space" in error.message


# Uploads.


async def test_files_are_stored_in_order_and_what_comes_after_waits_for_them(tmp_path: Path) -> None:
    order: list[str] = []
    go = asyncio.Event()

    async def put(artifact: Artifact, path: Path) -> Artifact:
        await go.wait()
        order.append(artifact.key)
        return artifact

    uploads = Uploads(put)
    uploads.after(lambda: order.append("at once"))
    uploads.add(Artifact("a", 0, ""), tmp_path)
    uploads.after(lambda: order.append("after a"))
    uploads.add(Artifact("b", 0, ""), tmp_path)
    assert order == ["at once"]
    go.set()
    assert await uploads.store(Artifact("c", 0, ""), tmp_path) == Artifact("c", 0, "")
    assert order == ["at once", "a", "after a", "b", "c"]
    assert list(uploads.stored) == ["a", "b", "c"]


async def test_the_first_error_ends_the_uploads_for_good(tmp_path: Path) -> None:
    async def put(artifact: Artifact, path: Path) -> Artifact:
        raise DiskFull("no room")

    uploads = Uploads(put)
    uploads.add(Artifact("a", 0, ""), tmp_path)
    for _ in range(2):
        with pytest.raises(DiskFull):
            await uploads.settled()
    uploads.add(Artifact("b", 0, ""), tmp_path)
    with pytest.raises(DiskFull):
        await uploads.settled()
    await uploads.close()


async def test_abandoned_uploads_end_those_who_wait_for_them(tmp_path: Path) -> None:
    async def put(artifact: Artifact, path: Path) -> Artifact:
        await asyncio.Event().wait()
        raise AssertionError

    uploads = Uploads(put)
    uploads.add(Artifact("a", 0, ""), tmp_path)
    waiting = asyncio.create_task(uploads.settled())
    await asyncio.sleep(0)
    uploads.abandon()
    with pytest.raises(LeaseLost):
        await waiting
    await uploads.close()


async def test_uploads_that_never_began_are_closed_too() -> None:
    async def put(artifact: Artifact, path: Path) -> Artifact:
        raise AssertionError

    await Uploads(put).close()


# The uplink.


async def test_the_link_is_lost_and_restored_once_for_each_change() -> None:
    link, restored, seen = ScriptedLink(), [], Events()
    previous = events.set_sink(seen)
    clock = ManualClock()
    uplink = Uplink(link, "w1", clock, lambda: restored.append(True))
    link.fail("renew", Unreachable("away"), times=2)
    link.fail("renew", Unauthorized("another token"))
    for _ in range(3):
        with pytest.raises(GlowplugError):
            await uplink.renew(Renew("w1", "i1", ()))
    assert not uplink.reachable
    await clock.advance(5)
    assert await uplink.renew(Renew("w1", "i1", ())) == Renewed(())
    assert uplink.reachable
    events.set_sink(previous)
    assert seen.names() == ["link.lost", "link.restored"]
    assert seen.seen[1][1] == {"worker": "w1", "seconds": 5.0}
    assert restored == [True]


async def test_a_refusal_is_said_once_for_each_reason_and_the_link_counts_as_there() -> None:
    link, seen = ScriptedLink(), Events()
    previous = events.set_sink(seen)
    uplink = Uplink(link, "w1", ManualClock(), lambda: None)
    for error in (Conflict("a"), Conflict("a"), Conflict("b")):
        link.fail("renew", error)
        with pytest.raises(Conflict):
            await uplink.renew(Renew("w1", "i1", ()))
    events.set_sink(previous)
    assert [said["error"] for _, said in seen.seen] == ["a", "b"]
    assert uplink.reachable


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (InvalidInput("x"), True),
        (TooLarge("x"), True),
        (Conflict("x"), True),
        (Unauthorized("x"), False),
        (Unreachable("x"), False),
        (DiskFull("x"), False),
        (BugError("x"), False),
        (NotReady("x"), False),
    ],
)
def test_only_what_the_gateway_will_never_take_is_a_refusal(error: GlowplugError, final: bool) -> None:
    assert is_refusal(error) is final


# The directory.


def test_tasks_are_found_again_after_a_reload_changed_them() -> None:
    host = FakeHost(Board(ManualClock()))
    directory = Directory([host])  # type: ignore[list-item]
    assert directory.find("echo.say")[2] == TaskInfo("echo.say")
    host.info = ModelInfo("echo", "2", (TaskInfo("echo.say", batch=3), TaskInfo("echo.new")))
    assert directory.find("echo.say")[2].batch == 3
    assert directory.find("echo.new")[1].version == "2"
    host.info = ModelInfo("echo", "3", (TaskInfo("echo.new"),))
    with pytest.raises(UnknownTask, match=r"echo\.new"):
        directory.find("echo.say")


def test_a_worker_without_models_has_no_tasks() -> None:
    with pytest.raises(UnknownTask, match="none"):
        Directory([]).find("echo.say")


# Problems.


def test_a_problem_is_json_whatever_data_the_error_has() -> None:
    body = json.loads(problem(ModelCrashed("died", exit=object(), status=1, detail="?")))
    assert (body["status"], body["detail"], body["code"]) == (502, "died", "model_crashed")
    assert body["exit"].startswith("<object")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (NotReady("x"), b"2"),
        (NotReady("x", retry_after=0.2), b"1"),
        (NotReady("x", retry_after=7.4), b"8"),
        (InvalidInput("x"), None),
        (LoadFailed("x"), None),
    ],
)
def test_retry_after_is_whole_seconds_and_only_for_what_passes(error: GlowplugError, seconds: bytes | None) -> None:
    assert retry_after(error) == seconds
