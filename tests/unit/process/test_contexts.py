"""What a model tells its contexts goes to the host: in order, not too often, and never lost at the end."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.errors import BugError, Canceled, Interrupted, InvalidInput
from glowplug.process import contexts
from glowplug.process.contexts import BatchContext, ProcessLoadContext, ProcessRunContext
from glowplug.process.protocol import (
    WINDOW,
    Checkpointed,
    Item,
    Logged,
    Measured,
    Moved,
    Progressed,
    Saved,
    ToHost,
    Yielded,
)

PNG = b"\x89PNG and so on"


class Time:
    """The clock of the contexts, wound by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    wound = Time()
    monkeypatch.setattr(contexts, "time", wound)
    return wound


class Host:
    """Hears everything; acknowledges at once unless told not to."""

    def __init__(self) -> None:
        self.heard: list[ToHost] = []
        self.answer: Callable[[ToHost], None] = lambda message: None

    def send(self, message: ToHost) -> None:
        self.heard.append(message)
        self.answer(message)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def run(host: Host, tmp_path: Path) -> ProcessRunContext:
    context = ProcessRunContext(Item("1", b"{}", str(tmp_path / "scratch"), "jobs/1/1"), host.send)
    host.answer = lambda message: context.reports.credited(1)
    return context


@pytest.fixture
def load(host: Host) -> ProcessLoadContext:
    context = ProcessLoadContext()
    context.attach(host.send)
    return context


def test_a_stage_is_told_at_once_and_its_counter_now_and_then(load: ProcessLoadContext, host: Host, time: Time) -> None:
    with load.stage("read"):
        for done in range(100):
            time.now += 0.01
            load.progress(done, 100, unit="shards")
    assert host.heard[0] == Moved("read")
    assert 9 <= len(host.heard) <= 12


def test_the_last_counter_of_a_stage_is_told_before_the_next_stage(
    load: ProcessLoadContext, host: Host, time: Time
) -> None:
    with load.stage("read"):
        for done in (1, 2, 3):
            load.progress(done, 3)
    with load.stage("to device"):
        load.progress(1, 2)
    load.flush()
    assert host.heard == [Moved("read"), Moved("read", 3, 3), Moved("to device"), Moved("to device", 1, 2)]


def test_a_plain_load_context_tells_nobody() -> None:
    ProcessLoadContext().progress(1, 2, stage="read")


def test_progress_is_throttled_and_the_last_is_kept(run: ProcessRunContext, host: Host, time: Time) -> None:
    for done in range(1, 101):
        time.now += 0.01
        run.progress(done, 100)
    run.flush()
    run.flush()
    told = [message.done for message in host.heard if isinstance(message, Progressed)]
    assert told[-1] == 100
    assert told == sorted(told)
    assert 10 <= len(told) <= 12


def test_previews_are_throttled_and_saved_before_they_are_named(run: ProcessRunContext, host: Host, time: Time) -> None:
    for _ in range(20):
        run.progress(1, 2, preview=PNG)
        time.now += 0.125
    saved = [message.artifact.key for message in host.heard if isinstance(message, Saved)]
    assert saved == ["jobs/1/1/preview/1.png", "jobs/1/1/preview/2.png", "jobs/1/1/preview/3.png"]
    named = [message.preview for message in host.heard if isinstance(message, Progressed)]
    assert list(dict.fromkeys(named)) == [f"artifact:{key}" for key in saved]
    assert isinstance(host.heard[0], Saved)
    assert run.saved == []


def test_a_preview_is_named_until_there_is_another(run: ProcessRunContext, host: Host, time: Time) -> None:
    run.progress(1, 9)
    for step in range(2, 9):
        time.now += 0.3
        run.progress(step, 9, preview=PNG if step in (3, 7) else None)
    named = [message.preview for message in host.heard if isinstance(message, Progressed)]
    first, second = "artifact:jobs/1/1/preview/1.png", "artifact:jobs/1/1/preview/2.png"
    assert named == [None, None, first, first, first, first, second, second]


def test_a_preview_that_is_no_picture_is_the_tasks_mistake(run: ProcessRunContext) -> None:
    with pytest.raises(ValueError, match="PNG"):
        run.progress(1, 2, preview=b"text")


def test_metrics_are_numbers_and_nan_is_none(run: ProcessRunContext, host: Host) -> None:
    run.metrics(loss=math.nan, step=3)
    assert host.heard == [Measured("1", {"loss": None, "step": 3.0})]
    with pytest.raises((TypeError, ValueError)):
        run.metrics(loss="high")  # type: ignore[arg-type]


def test_text_that_cannot_be_sent_is_mended(run: ProcessRunContext, host: Host) -> None:
    run.log("file \udc80")
    assert host.heard == [Logged("1", "file ?")]


def test_a_saved_file_is_told_with_size_hash_and_type(run: ProcessRunContext, host: Host, tmp_path: Path) -> None:
    artifact = run.save("a.png", PNG)
    assert (artifact.key, artifact.size_bytes, artifact.media_type) == ("jobs/1/1/a.png", len(PNG), "image/png")
    assert artifact.sha256 == hashlib.sha256(PNG).hexdigest()
    [saved] = host.heard
    assert isinstance(saved, Saved)
    assert Path(saved.path).read_bytes() == PNG
    assert Path(saved.path).is_relative_to(tmp_path / "scratch")


def test_a_saved_path_is_copied_so_that_the_task_may_go_on_writing(run: ProcessRunContext, host: Host) -> None:
    source = run.scratch / "work"
    source.write_bytes(b"x" * 3_000_000)
    artifact = run.save("work.bin", source, "application/x-work")
    source.write_bytes(b"other")
    [saved] = host.heard
    assert isinstance(saved, Saved)
    assert hashlib.sha256(Path(saved.path).read_bytes()).hexdigest() == artifact.sha256
    assert artifact.media_type == "application/x-work"


def test_two_saves_under_one_name_do_not_touch_each_others_bytes(run: ProcessRunContext, host: Host) -> None:
    run.save("a.txt", b"first")
    last = run.save("a.txt", b"second")
    paths = [Path(message.path) for message in host.heard if isinstance(message, Saved)]
    assert [path.read_bytes() for path in paths] == [b"first", b"second"]
    assert run.saved == [last]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "..", "-x", "a\nb", "x" * 129])
def test_a_name_with_folders_is_refused(run: ProcessRunContext, host: Host, name: str) -> None:
    with pytest.raises(InvalidInput):
        run.save(name, b"")
    assert host.heard == []


def test_the_scratch_folder_is_made_when_it_is_first_used(run: ProcessRunContext, tmp_path: Path) -> None:
    assert not (tmp_path / "scratch").exists()
    assert not run.scratch_used
    assert run.scratch.is_dir()
    assert run.scratch_used


def test_check_raises_what_was_asked_for_first_and_again(run: ProcessRunContext) -> None:
    run.check()
    run.stop.ask(interrupted=True)
    run.stop.ask(interrupted=False)
    for _ in range(2):
        with pytest.raises(Interrupted):
            run.check()
    assert isinstance(run.stop.told, Interrupted)


def test_a_checkpoint_waits_until_it_is_confirmed(run: ProcessRunContext, host: Host) -> None:
    asked = threading.Event()
    host.answer = lambda message: asked.set()
    worker = threading.Thread(target=run.checkpoint, args=(3, lambda path: path.write_text("state")))
    worker.start()
    assert asked.wait(10)
    assert worker.is_alive()
    run.confirm(accepted=True)
    worker.join(10)
    assert not worker.is_alive()
    resumed = run.resume()
    assert resumed is not None
    assert (resumed.step, resumed.path.read_text()) == (3, "state")


def confirming(run: ProcessRunContext, host: Host, *, accepted: bool = True) -> None:
    def answer(message: ToHost) -> None:
        run.reports.credited(1)
        if isinstance(message, Checkpointed):
            # Let the file be what was promised at the moment it is promised.
            assert Path(message.path).is_file()
            run.confirm(accepted=accepted)

    host.answer = answer


def test_only_the_last_checkpoint_is_kept_on_the_disk(run: ProcessRunContext, host: Host) -> None:
    confirming(run, host)
    for step in (1, 2, 3):
        run.checkpoint(step, lambda path: path.write_text("state"))  # type: ignore[arg-type, return-value]
    assert [path.name for path in run.scratch.iterdir()] == ["checkpoint-3"]


def test_a_refused_checkpoint_cancels_the_run(run: ProcessRunContext, host: Host) -> None:
    confirming(run, host, accepted=False)
    with pytest.raises(Canceled):
        run.checkpoint(1, lambda path: path.write_text("state"))  # type: ignore[arg-type, return-value]


def test_a_writer_that_writes_nothing_is_told_so(run: ProcessRunContext) -> None:
    with pytest.raises(FileNotFoundError, match="wrote no file"):
        run.checkpoint(1, lambda path: None)


def test_a_writer_that_fails_leaves_no_checkpoint(run: ProcessRunContext, host: Host) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run.checkpoint(1, fail)
    assert host.heard == []
    assert not (run.scratch / "checkpoint-1").exists()


def test_a_run_goes_on_from_the_checkpoint_that_it_was_given(host: Host, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("state")
    context = ProcessRunContext(Item("1", b"{}", str(tmp_path), resumed=(7, str(given))), host.send)
    resumed = context.resume()
    assert resumed is not None
    assert (resumed.step, resumed.path) == (7, given)


def test_a_task_waits_when_the_host_falls_behind(host: Host, tmp_path: Path) -> None:
    context = ProcessRunContext(Item("1", b"{}", str(tmp_path)), host.send)
    full = threading.Event()
    host.answer = lambda message: full.set() if len(host.heard) >= WINDOW else None
    worker = threading.Thread(target=lambda: [context.chunk(b"1") for _ in range(WINDOW + 5)])
    worker.start()
    assert full.wait(10)
    worker.join(0.05)
    assert worker.is_alive()
    assert len(host.heard) == WINDOW
    context.reports.credited(5)
    worker.join(10)
    assert host.heard == [Yielded("1", b"1")] * (WINDOW + 5)


def batch(host: Host, tmp_path: Path) -> tuple[BatchContext, list[ProcessRunContext]]:
    members = [ProcessRunContext(Item(name, b"{}", str(tmp_path / name), name), host.send) for name in "ab"]
    return BatchContext(members), members


def test_what_a_batch_reports_is_reported_for_each_call(host: Host, tmp_path: Path) -> None:
    common, _ = batch(host, tmp_path)
    common.progress(1, 2)
    common.metrics(loss=1)
    common.log("text")
    assert [(type(message), message.id) for message in host.heard] == [  # type: ignore[union-attr]
        (kind, name) for kind in (Progressed, Measured, Logged) for name in "ab"
    ]


def test_files_and_checkpoints_belong_to_one_call(host: Host, tmp_path: Path) -> None:
    common, _ = batch(host, tmp_path)
    assert common.calls[1].save("x.txt", b"x").key == "b/x.txt"
    with pytest.raises(BugError, match=r"ctx\.calls"):
        common.save("x.txt", b"x")
    with pytest.raises(BugError, match=r"ctx\.calls"):
        common.checkpoint(1, lambda path: None)


def test_a_batch_stops_when_all_its_calls_should(host: Host, tmp_path: Path) -> None:
    common, (first, second) = batch(host, tmp_path)
    first.stop.ask(interrupted=False)
    common.check()
    second.stop.ask(interrupted=True)
    with pytest.raises(Canceled):
        common.check()
    assert isinstance(first.stop.told, Canceled)
    assert isinstance(second.stop.told, Interrupted)
