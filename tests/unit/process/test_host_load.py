"""A model is brought up in a process of its own, and the board says truthfully how that goes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from tests.unit.process.rig import SECONDS, Recorder, Rig, hosted

from glowplug.errors import Conflict, LoadFailed, NotFound, NotReady, Unreachable
from glowplug.job import OutcomeKind
from glowplug.process.host import Call
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import Status
from glowplug.store import ModelInfo


def statuses(rig: Rig) -> list[str]:
    return [step.new for step in rig.transitions if step.component]


async def test_start_returns_before_the_model_is_loaded(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", options={"seconds": "0.2"}, ready=False) as rig:
        assert rig.component.status is Status.LOADING
        assert (await rig.until_ready()).failure is None


async def test_a_load_passes_through_its_stages_to_ready(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", options={"seconds": "0.3"}, ready=False) as rig:
        seen: list[str] = []
        async with asyncio.timeout(SECONDS), rig.board.subscribe() as news:
            async for snapshot in news:
                found = snapshot.components[0]
                if found.progress is not None and found.progress.stage not in seen[-1:]:
                    seen.append(found.progress.stage)
                if found.status.can_serve:
                    break
        assert [stage for stage in seen if stage != "import"] == ["start", "read", "to device", "warm up"]
        assert statuses(rig) == ["loading", "warming", "ready"]


async def test_a_counter_inside_a_stage_is_shown(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", options={"seconds": "1", "steps": "4"}, ready=False) as rig:
        seen = await rig.until(lambda it: it.progress is not None and it.progress.done >= 2)
        assert seen.progress is not None
        assert (seen.progress.total, seen.progress.unit) == (4, "shards")


async def test_the_model_is_described_before_it_is_loaded(tmp_path: Path) -> None:
    told: list[tuple[ModelInfo, Status]] = []
    async with hosted(tmp_path, "slow_load", options={"seconds": "0.3"}, ready=False) as rig:
        assert rig.host.info is None
        rig.host.on_info = lambda info: told.append((info, rig.component.status))
        await rig.until_ready()
        [(info, status)] = told
        assert info is rig.host.info
        assert status is Status.LOADING
        assert [task.name for task in info.tasks] == ["slowload.say"]
        assert info.tasks[0].input_schema["properties"] == {"text": {"type": "string"}}
        assert rig.host.options["slowload.say"].example == {"text": "hello"}


async def test_a_model_that_is_not_ready_refuses_calls_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", options={"seconds": "0.5"}, ready=False) as rig:
        end = await rig.host.run(Call(id="early", task="slowload.say", input_json=b'{"text": "x"}'))
        assert end.kind is OutcomeKind.FAILED
        assert type(end.error) is NotReady
        assert 1 <= end.error.data["retry_after"] <= 30
        assert rig.host.free_slots == 0


async def test_a_load_that_raises_gives_its_last_line_as_the_reason_and_its_traceback_to_the_log(
    tmp_path: Path,
) -> None:
    async with hosted(tmp_path, "crash", ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "ValueError: the weights have the wrong shape"
        assert failed.failure.error_class is ErrorClass.PERMANENT
        lines = [fields["line"] for fields in rig.told("model.output")]
        assert lines[0] == "about to load"
        assert "crash.py" in lines[2]
        assert rig.told("model.exited") == []
        assert lines[-1] == failed.failure.error
        assert failed.attempt == 1
        end = await rig.host.run(Call(id="late", task="crash.say", input_json=b"{}"))
        assert type(end.error) is LoadFailed


@pytest.mark.parametrize(
    ("how", "error", "kind"),
    [
        ("import", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'", ErrorClass.PERMANENT),
        ("memory", "Out of memory (MemoryError)", ErrorClass.OUT_OF_MEMORY),
        ("exit", "SystemExit: 3", ErrorClass.PERMANENT),
    ],
)
async def test_a_failed_load_is_told_by_kind(tmp_path: Path, how: str, error: str, kind: ErrorClass) -> None:
    async with hosted(tmp_path, "crash", options={"how": how}, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert (failed.failure.error, failed.failure.error_class) == (error, kind)
        assert failed.attempt == 1


async def test_a_load_that_may_pass_is_tried_again_and_succeeds(tmp_path: Path) -> None:
    options = {"how": "network", "until": str(tmp_path / "count")}
    async with hosted(tmp_path, "crash", options=options) as rig:
        assert statuses(rig) == ["loading", "pending", "loading", "warming", "ready"]
        assert rig.component.attempt == 2


async def test_a_load_that_dies_is_tried_again(tmp_path: Path) -> None:
    options = {"how": "abort", "until": str(tmp_path / "count")}
    async with hosted(tmp_path, "crash", options=options) as rig:
        assert rig.component.attempt == 2
        assert [fields["exit"] for fields in rig.told("model.exited")] == ["SIGABRT"]


async def test_a_load_is_given_up_after_its_attempts_and_a_retry_begins_afresh(tmp_path: Path) -> None:
    options = {"how": "network", "until": str(tmp_path / "count"), "times": "2"}
    async with hosted(tmp_path, "crash", options=options, load_attempts=2, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.attempt == 2
        assert failed.failure is not None
        assert failed.failure.error == "ConnectionRefusedError: the hub does not answer"
        await rig.host.reload()
        await rig.until_ready()


async def test_there_is_nothing_to_retry_on_a_ready_model(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        with pytest.raises(Conflict, match="nothing to retry"):
            await rig.host.reload()


async def test_a_load_that_hangs_is_killed_and_called_stalled(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", options={"load": ""}, stall_seconds=1.0, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error_class is ErrorClass.STALLED
        assert "no sign of life" in failed.failure.error
        pid = rig.pid()
        await gone(pid)
        assert failed.attempt == 1


async def test_a_load_that_computes_without_a_word_is_not_stalled(tmp_path: Path) -> None:
    async with hosted(
        tmp_path, "gil_load", options={"seconds": "3", "idle": "0"}, stall_seconds=1.0, ready=False
    ) as rig:
        seen = await rig.until(lambda it: not it.status.is_loading)
        assert seen.status is Status.READY


async def test_a_load_past_its_outer_limit_is_killed(tmp_path: Path) -> None:
    async with hosted(
        tmp_path, "slow_load", options={"seconds": "60"}, startup_timeout_seconds=1.0, ready=False
    ) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "Model loading timeout"
        await gone(rig.pid())


async def test_a_load_that_eats_too_much_is_killed_before_the_machine_suffers(tmp_path: Path) -> None:
    limit = 300_000_000
    async with hosted(tmp_path, "eat_memory", options={"load": "4000"}, memory_limit_bytes=limit, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error_class is ErrorClass.OUT_OF_MEMORY
        assert failed.failure.error.startswith("Out of memory: ")


async def test_a_missing_file_is_a_failed_load_that_says_so(tmp_path: Path) -> None:
    async with hosted(tmp_path, "not_there", ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert "no such file" in failed.failure.error


async def test_a_model_may_say_that_it_is_not_required(tmp_path: Path) -> None:
    target = tmp_path / "spare.py"
    target.write_text("from glowplug import Model\nclass Spare(Model):\n    required = False\n")
    async with hosted(tmp_path, "echo", target=str(target)) as rig:
        assert not rig.component.required


async def test_an_example_that_is_wrong_fails_the_load(tmp_path: Path) -> None:
    target = tmp_path / "wrong.py"
    target.write_text(
        "from glowplug import Model, task\n"
        "class Wrong(Model):\n"
        "    @task(example={'text': 5})\n"
        "    def say(self, ctx, text: str) -> str: return text\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error.startswith("the example of wrong.say is not right: wrong.say: text:")


async def test_a_warm_up_that_fails_fails_the_load(tmp_path: Path) -> None:
    target = tmp_path / "cold.py"
    target.write_text(
        "from glowplug import Model, task\n"
        "class Cold(Model):\n"
        "    @task(example={})\n"
        "    def run(self, ctx) -> None: raise RuntimeError('no kernel image')\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "RuntimeError: no kernel image"


async def test_a_warm_up_past_its_limit_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "frozen.py"
    target.write_text(
        "import time\nfrom glowplug import Model\nclass Frozen(Model):\n    def warm_up(self, ctx): time.sleep(3600)\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), warm_up_seconds=0.5, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "Model warm-up timeout"


async def test_warming_up_again_does_not_leave_ready(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        before = len(rig.transitions)
        async with asyncio.timeout(SECONDS):
            first, second = await asyncio.gather(rig.host.warm_up(), rig.host.warm_up())
        assert first == second > 0
        assert len(rig.transitions) == before
        assert rig.component.snapshot().timings.warmup_time_ms == pytest.approx(first * 1000, abs=0.1)


async def test_warming_up_needs_a_model_that_serves(tmp_path: Path) -> None:
    async with hosted(tmp_path, "crash", ready=False) as rig:
        await rig.until_failed()
        with pytest.raises(LoadFailed):
            await rig.host.warm_up()


async def test_a_model_that_hangs_in_a_warm_up_asked_for_is_not_called_ready_for_long(tmp_path: Path) -> None:
    target = tmp_path / "stiff.py"
    target.write_text(
        "import time\nfrom glowplug import Model\nclass Stiff(Model):\n    warm = False\n"
        "    def warm_up(self, ctx):\n        if self.warm: time.sleep(3600)\n        self.warm = True\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), warm_up_seconds=0.5) as rig:
        with pytest.raises(NotReady):
            await rig.host.warm_up()
        again = await rig.until_ready(attempt=2)
        assert again.status is Status.READY
        assert [told["reason"] for told in rig.told("model.killed")] == ["Model warm-up timeout"]


@pytest.mark.parametrize("stopped", [False, True])
async def test_whoever_waits_for_a_warm_up_is_let_go_when_the_process_ends(tmp_path: Path, stopped: bool) -> None:
    async with hosted(tmp_path, "hang", slots=1, cancel_grace_seconds=0.1) as rig:
        sink = Recorder()
        busy = asyncio.create_task(rig.run("forever", sink))
        await sink.until_heard()
        warming = asyncio.create_task(rig.host.warm_up())
        await asyncio.sleep(0)
        if stopped:
            await rig.host.stop()
        else:
            os.kill(rig.pid(), signal.SIGKILL)
        with pytest.raises(NotReady):
            await warming
        await busy


async def test_a_model_without_a_slot_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "narrow.py"
    target.write_text("from glowplug import Model\nclass Narrow(Model):\n    slots = 0\n")
    async with hosted(tmp_path, "echo", target=str(target), ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "narrow: slots = 0; a model needs at least one"


def test_the_parent_imports_no_heavy_library_for_it() -> None:
    code = "import sys, glowplug.process.host; print([m for m in ('pydantic', 'PIL', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Fetcher:
    """Hands out a folder, after some progress, or fails as told."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder = folder
        self.error = error
        self.asked: list[dict[str, str]] = []

    async def fetch(
        self, declared: Mapping[str, str], progress: Callable[[int, int | None, str], None]
    ) -> dict[str, Path]:
        self.asked.append(dict(declared))
        progress(5, 10, "fetch")
        if self.error is not None:
            raise self.error
        progress(10, 10, "read")
        return dict.fromkeys(declared, self.folder)


WEIGHTY = """
from glowplug import Model, task
class Weighty(Model):
    weights = {"net": "s3://models/net"}
    def load(self, ctx): self.text = (ctx.weights["net"] / "net.txt").read_text()
    @task
    def read(self, ctx) -> str: return self.text
"""


async def test_declared_weights_are_fetched_before_the_load(tmp_path: Path) -> None:
    (tmp_path / "net.txt").write_text("weights")
    target = tmp_path / "weighty.py"
    target.write_text(WEIGHTY)
    fetcher = Fetcher(tmp_path)
    async with hosted(tmp_path, "echo", target=str(target), weights=fetcher) as rig:
        assert fetcher.asked == [{"net": "s3://models/net"}]
        assert statuses(rig)[:2] == ["loading", "fetching"]
        assert (await rig.run("read")).output_json == b'"weights"'


@pytest.mark.parametrize(
    ("error", "attempts", "kind"),
    [
        (NotFound("no such bucket"), 1, ErrorClass.PERMANENT),
        (Unreachable("the bucket does not answer"), 2, ErrorClass.TRANSIENT),
    ],
)
async def test_weights_that_cannot_be_had_fail_the_load(
    tmp_path: Path, error: Exception, attempts: int, kind: ErrorClass
) -> None:
    target = tmp_path / "weighty.py"
    target.write_text(WEIGHTY)
    fetcher = Fetcher(tmp_path, error)
    async with hosted(tmp_path, "echo", target=str(target), weights=fetcher, load_attempts=2, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert (failed.failure.error, failed.failure.error_class, failed.attempt) == (str(error), kind, attempts)


async def test_weights_that_nobody_can_fetch_are_a_setting_to_mend(tmp_path: Path) -> None:
    target = tmp_path / "weighty.py"
    target.write_text(WEIGHTY)
    async with hosted(tmp_path, "echo", target=str(target), ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert "declares weights" in failed.failure.error


async def test_stopping_while_it_loads_leaves_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", options={"seconds": "60"}, ready=False) as rig:
        await rig.until(lambda it: it.progress is not None and it.progress.stage == "read")
        pid = rig.pid()
        await rig.host.stop()
        await gone(pid)
        assert rig.component.status is Status.SLEEPING


async def test_a_stopped_host_can_be_started_again(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        await rig.host.stop()
        assert not rig.component.status.can_serve
        await rig.host.start()
        await rig.until_ready()
        assert (await rig.run("say", text="again")).output_json == b'"again"'


async def test_a_draining_component_is_not_loaded_again(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        rig.component.drain()
        os.kill(rig.pid(), signal.SIGKILL)
        await gone(rig.pid())
        assert rig.component.status is Status.DRAINING
        assert len(rig.told("model.spawned")) == 1


async def gone(pid: int) -> None:
    """Wait until a process is no more."""
    async with asyncio.timeout(SECONDS):
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.01)
