"""Calls are stopped by word first and by force then; limits of time hold; reports that fail end their call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.models.train_steps import expected
from tests.unit.process.rig import SECONDS, Recorder, Rig, hosted

from glowplug.errors import BugError, DeadlineExceeded, DiskFull, Draining, LeaseLost
from glowplug.job import OutcomeKind
from glowplug.process.host import Call, CallEnd


@pytest.mark.parametrize("kind", [OutcomeKind.CANCELED, OutcomeKind.INTERRUPTED])
async def test_a_task_that_checks_stops_at_once_and_the_model_lives(tmp_path: Path, kind: OutcomeKind) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=SECONDS) as rig:
        running, _ = await begun(rig, "polite", "1")
        rig.host.stop_call("1", kind)
        assert await running == CallEnd(kind)
        assert rig.component.attempt == 1


async def test_a_task_that_is_deaf_is_killed_after_the_grace_and_its_siblings_are_displaced(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang") as rig:
        deaf, _ = await begun(rig, "forever", "1")
        other, _ = await begun(rig, "polite", "2")
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        assert (await deaf).kind is OutcomeKind.CANCELED
        assert (await other).kind is OutcomeKind.DISPLACED
        await rig.until_ready(attempt=2)
        assert rig.host.free_slots == 2
        assert [fields["reason"] for fields in rig.told("model.killed")] == ["hang.forever did not stop within 1 s"]


async def test_a_kill_for_a_call_does_not_count_against_the_model(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", max_restarts=0, cancel_grace_seconds=0.1) as rig:
        for attempt in (2, 3):
            deaf, _ = await begun(rig, "forever", "1")
            rig.host.stop_call("1", OutcomeKind.INTERRUPTED)
            assert (await deaf).kind is OutcomeKind.INTERRUPTED
            await rig.until_ready(attempt)


async def test_stopping_twice_or_a_call_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang") as rig:
        rig.host.stop_call("nobody", OutcomeKind.CANCELED)
        running, _ = await begun(rig, "polite", "1")
        rig.host.stop_call("1", OutcomeKind.INTERRUPTED)
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        assert (await running).kind is OutcomeKind.INTERRUPTED


async def test_a_call_that_waits_for_a_slot_can_be_stopped_there(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", slots=1) as rig:
        running, _ = await begun(rig, "polite", "1")
        queued = asyncio.create_task(rig.host.run(rig.call("say", call_id="2", text="x")))
        await asyncio.sleep(0)
        rig.host.stop_call("2", OutcomeKind.CANCELED)
        assert await queued == CallEnd(OutcomeKind.CANCELED)
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        await running
        assert rig.host.free_slots == 1


async def test_whoever_stops_waiting_for_a_call_stops_the_call(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", slots=1) as rig:
        running, _ = await begun(rig, "polite", "1")
        queued = asyncio.create_task(rig.host.run(rig.call("say", call_id="2", text="x")))
        await asyncio.sleep(0)
        for task in (queued, running):
            task.cancel()
        await asyncio.wait([queued, running])
        assert queued.cancelled()
        assert running.cancelled()
        assert (await rig.run("say", text="free")).output_json == b'"free"'
        assert rig.component.attempt == 1


async def test_whoever_stops_waiting_for_a_batch_stops_all_its_calls(tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(ENDLESS_BATCH)
    async with hosted(tmp_path, "echo", target=str(target), cancel_grace_seconds=SECONDS) as rig:
        sink = Recorder()
        calls = [rig.call("go", number=1) for _ in range(3)]
        running = asyncio.create_task(rig.host.run_batch(calls, [sink, None, None]))
        await sink.until_heard()
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: rig.host.free_slots == 1)
        assert rig.component.attempt == 1


async def test_a_place_given_in_the_moment_of_leaving_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosted(tmp_path, "echo") as rig:
        really = rig.host._entrance.pass_through

        async def leaving_meanwhile(calls: Sequence[Call]) -> dict[str, CallEnd]:
            ends = await really(calls)
            rig.component.drain()
            return ends

        monkeypatch.setattr(rig.host._entrance, "pass_through", leaving_meanwhile)
        end = await rig.run("say", text="x")
        assert type(end.error) is Draining
        assert rig.host._places.free == 1


async def test_a_stream_is_stopped_between_its_values(tmp_path: Path) -> None:
    async with hosted(tmp_path, "streamer", cancel_grace_seconds=SECONDS) as rig:
        running, sink = await begun(rig, "count", "1")
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        assert (await running).kind is OutcomeKind.CANCELED
        assert sink.chunks[0] == 1
        assert rig.component.attempt == 1


async def test_a_call_past_its_time_fails_even_if_it_is_deaf(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=0.2) as rig:
        end = await rig.host.run(Call(id="1", task="hang.forever", input_json=b"{}", timeout_seconds=0.3))
        assert end.kind is OutcomeKind.FAILED
        assert type(end.error) is DeadlineExceeded
        assert end.error.message == "hang.forever took longer than 0.3 s"
        await rig.until_ready(attempt=2)


async def test_a_call_past_its_time_that_listens_costs_no_restart(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=SECONDS) as rig:
        end = await rig.host.run(Call(id="1", task="hang.polite", input_json=b"{}", timeout_seconds=0.3))
        assert type(end.error) is DeadlineExceeded
        assert rig.component.attempt == 1


async def test_a_run_without_a_sign_of_life_is_ended_where_the_task_asks_for_it(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=0.2) as rig:
        end = await rig.run("sleep")
        assert type(end.error) is DeadlineExceeded
        assert end.error.message == "hang.sleep showed no sign of life for 2 s"


async def test_stopping_the_host_interrupts_its_calls(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=1) as rig:
        polite, _ = await begun(rig, "polite", "1")
        deaf, _ = await begun(rig, "forever", "2")
        await rig.host.stop()
        assert [(await one).kind for one in (polite, deaf)] == [OutcomeKind.INTERRUPTED] * 2


async def test_a_listener_that_never_comes_back_does_not_keep_the_host_from_stopping(tmp_path: Path) -> None:
    async with hosted(tmp_path, "hang", cancel_grace_seconds=0.2) as rig:
        sink = Recorder(gate=asyncio.Event())
        running = asyncio.create_task(rig.host.run(rig.call("polite"), sink))
        await sink.until_heard()
        async with asyncio.timeout(SECONDS):
            await rig.host.stop()
            assert (await running).kind is OutcomeKind.INTERRUPTED


async def test_stopping_the_host_lets_the_model_unload(tmp_path: Path) -> None:
    target = tmp_path / "tidy.py"
    mark = tmp_path / "unloaded"
    target.write_text(
        "from pathlib import Path\nfrom glowplug import Model\n"
        f"class Tidy(Model):\n    def unload(self): Path({str(mark)!r}).touch()\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), slots=3) as rig:
        await rig.host.stop()
        assert mark.exists()
        assert rig.told("model.killed") == []
        assert rig.told("model.exited") == []


async def test_a_model_that_hangs_in_unload_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "clingy.py"
    target.write_text(
        "import time\nfrom glowplug import Model\nclass Clingy(Model):\n    def unload(self): time.sleep(3600)\n"
    )
    async with hosted(tmp_path, "echo", target=str(target), cancel_grace_seconds=0.2) as rig:
        await rig.host.stop()
        assert len(rig.told("model.killed")) == 1


async def test_a_checkpoint_returns_only_when_it_is_durable_and_a_run_goes_on_from_it(tmp_path: Path) -> None:
    async with hosted(tmp_path, "train_steps") as rig:
        sink = Recorder(gate=asyncio.Event())
        running = asyncio.create_task(rig.host.run(train(steps=6, every=2), sink))
        await sink.until_heard()
        assert sink.gate is not None
        sink.gate.set()
        first = await running
        assert [step for step, _ in sink.checkpoints] == [2, 4, 6]
        step, state = sink.checkpoints[1]
        saved = tmp_path / "saved"
        saved.write_bytes(state)
        again = await rig.host.run(train(steps=6, every=2, resumed=(step, str(saved))))
        assert b'"began":0' in first.output_json
        assert b'"began":4' in again.output_json
        assert expected(6).encode() in first.output_json
        assert expected(6).encode() in again.output_json


async def test_a_lost_lease_ends_the_run_at_its_checkpoint(tmp_path: Path) -> None:
    async with hosted(tmp_path, "train_steps", cancel_grace_seconds=SECONDS) as rig:
        sink = OnlyCheckpointsFail(fault=LeaseLost("the job is somebody else's"))
        end = await rig.host.run(train(steps=1000, every=3), sink)
        assert end.kind is OutcomeKind.CANCELED
        assert type(end.error) is LeaseLost
        assert [step for step, _ in sink.checkpoints] == [3]
        assert rig.component.attempt == 1


@pytest.mark.parametrize(
    ("fault", "kind"), [(DiskFull("no room for the artifact"), DiskFull), (ZeroDivisionError("oops"), BugError)]
)
async def test_a_sink_that_fails_fails_the_call_and_not_the_host(
    tmp_path: Path, fault: Exception, kind: type[Exception]
) -> None:
    async with hosted(tmp_path, "artist") as rig:
        end = await rig.run("paint", Recorder(fault=fault))
        assert end.kind is OutcomeKind.FAILED
        assert type(end.error) is kind
        assert (await rig.run("result", kind="enum")).kind is OutcomeKind.COMPLETED


async def test_a_stop_of_one_call_of_a_batch_leaves_the_others_alone(tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(
        "import time\nfrom pathlib import Path\nfrom glowplug import Batch, Model, task\n"
        "class Slow(Model):\n"
        "    @task(batch=4)\n"
        "    def go(self, ctx, path: Batch[str]) -> list[str]:\n"
        "        ctx.progress(1)\n"
        "        while not Path(path[0]).exists(): ctx.check(); time.sleep(0.005)\n"
        "        return path\n"
    )
    door = tmp_path / "door"
    async with hosted(tmp_path, "echo", target=str(target), cancel_grace_seconds=0.1) as rig:
        sink = Recorder()
        calls = [rig.call("go", call_id=name, path=str(door)) for name in ("1", "2")]
        running = asyncio.create_task(rig.host.run_batch(calls, [sink, None]))
        await sink.until_heard()
        rig.host.stop_call("1", OutcomeKind.CANCELED)
        await until(lambda: len(rig.host._calls) == 1)
        door.touch()
        stopped, other = await running
        assert (stopped.kind, other.kind) == (OutcomeKind.CANCELED, OutcomeKind.COMPLETED)
        assert rig.component.attempt == 1
        assert rig.host.free_slots == 1


ENDLESS_BATCH = """
import time
from glowplug import Batch, Model, task
class Slow(Model):
    @task(batch=4)
    def go(self, ctx, number: Batch[int]) -> list[int]:
        ctx.progress(1)
        while True: ctx.check(); time.sleep(0.005)
"""


async def test_a_batch_that_is_stopped_as_a_whole_stops(tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(ENDLESS_BATCH)
    async with hosted(tmp_path, "echo", target=str(target), cancel_grace_seconds=SECONDS) as rig:
        sink = Recorder()
        calls = [rig.call("go", call_id=name, number=1) for name in ("1", "2")]
        running = asyncio.create_task(rig.host.run_batch(calls, [sink, None]))
        await sink.until_heard()
        for name in ("1", "2"):
            rig.host.stop_call(name, OutcomeKind.CANCELED)
        assert [end.kind for end in await running] == [OutcomeKind.CANCELED] * 2
        assert rig.component.attempt == 1


class OnlyCheckpointsFail(Recorder):
    """Fails at checkpoints alone."""

    async def note(self, note: object) -> None:
        """Take it."""

    async def saved(self, artifact: object, path: Path) -> None:
        """Take it."""


def train(*, steps: int, every: int, resumed: tuple[int, str] | None = None) -> Call:
    body = f'{{"steps": {steps}, "every": {every}, "step_seconds": 0.001}}'.encode()
    return Call(id="train", task="trainsteps.train", input_json=body, resumed=resumed)


async def begun(rig: Rig, task: str, call_id: str) -> tuple[asyncio.Task[CallEnd], Recorder]:
    """Start a call and wait for its first report."""
    sink = Recorder()
    running = asyncio.create_task(rig.host.run(rig.call(task, call_id=call_id), sink))
    await sink.until_heard()
    return running, sink


async def until(reached: object) -> None:
    assert callable(reached)
    async with asyncio.timeout(SECONDS):
        while not reached():
            await asyncio.sleep(0.005)
