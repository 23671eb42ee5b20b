"""A process may die at any moment; nothing waits for ever, the right call is blamed, and the model comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from tests.unit.process.rig import SECONDS, Recorder, Rig, hosted

from glowplug.errors import ModelCrashed, NotReady
from glowplug.job import OutcomeKind
from glowplug.process.host import Call, CallEnd
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import Status


async def test_a_lone_call_in_a_crash_is_blamed_with_the_signal_and_the_last_words(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        end = await rig.run("die")
        assert end.kind is OutcomeKind.CRASHED
        assert type(end.error) is ModelCrashed
        said = "segv: its process died with SIGSEGV while it ran segv.die; last it said: reaching for address zero"
        assert end.error.message == said
        assert end.error.data["exit"] == "SIGSEGV"
        assert "reaching for address zero" in end.error.data["output"]
        assert any("segv.py" in line for line in end.error.data["output"])
        await rig.until_ready(attempt=2)
        assert (await rig.run("say", text="back")).output_json == b'"back"'


async def test_what_a_call_printed_before_it_crashed_is_in_its_log(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        sink = Recorder()
        await rig.run("die", sink)
        assert "reaching for address zero" in sink.log()
        assert "Fatal Python error: Segmentation fault" in sink.log()


async def test_siblings_of_a_crash_are_displaced_uncounted(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        ends = await crash_together(rig, tmp_path, waiting=2)
        assert [end.kind for end in ends] == [OutcomeKind.DISPLACED] * 3


async def test_after_a_crash_with_siblings_calls_run_alone_until_as_many_have_ended_well(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        await crash_together(rig, tmp_path, waiting=1)
        await rig.until_ready(attempt=2)
        assert rig.host.free_slots == 1
        await rig.run("say", text="1")
        assert rig.host.free_slots == 1
        await rig.run("say", text="2")
        assert rig.host.free_slots == 4


async def test_a_poison_among_others_meets_its_blame_when_tried_alone(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        await crash_together(rig, tmp_path, waiting=1)
        await rig.until_ready(attempt=2)
        other, poison = await asyncio.gather(rig.run("say", text="good"), rig.run("die"))
        assert (other.kind, poison.kind) == (OutcomeKind.COMPLETED, OutcomeKind.CRASHED)


async def test_batches_are_taken_apart_while_a_crash_is_cleared_up(tmp_path: Path) -> None:
    async with hosted(tmp_path, "batcher") as rig:
        calls = [rig.call("shout", text=word) for word in ("a", "b")]
        running = asyncio.create_task(rig.host.run_batch(calls, [None, None]))
        await asyncio.sleep(0)
        os.kill(rig.pid(), signal.SIGKILL)
        assert [end.kind for end in await running] == [OutcomeKind.DISPLACED] * 2
        await rig.until_ready(attempt=2)
        ends = await rig.host.run_batch(calls, [None, None])
        assert [b'"together":1' in end.output_json for end in ends] == [True, True]
        ends = await rig.host.run_batch(calls, [None, None])
        assert [b'"together":2' in end.output_json for end in ends] == [True, True]


async def test_calls_that_wait_for_a_slot_when_it_dies_are_told_to_come_back(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv", slots=1) as rig:
        waits = asyncio.create_task(rig.run("wait", path=str(tmp_path / "never")))
        queued = asyncio.create_task(rig.run("say", text="x"))
        await asyncio.sleep(0)
        os.kill(rig.pid(), signal.SIGKILL)
        assert (await waits).kind is OutcomeKind.CRASHED
        end = await queued
        assert end.kind is OutcomeKind.FAILED
        assert type(end.error) is NotReady


async def test_a_call_sent_while_it_is_already_dead_ends_too(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        os.kill(rig.pid(), signal.SIGKILL)
        end = await rig.run("say", text="x")
        assert end.kind in (OutcomeKind.CRASHED, OutcomeKind.FAILED)
        await rig.until_ready(attempt=2)


async def test_a_result_sent_just_before_death_counts(tmp_path: Path) -> None:
    target = tmp_path / "last.py"
    target.write_text(
        "import os, threading\nfrom glowplug import Model, task\n"
        "class Last(Model):\n"
        "    @task\n"
        "    def go(self, ctx) -> str:\n"
        "        threading.Timer(0.05, os._exit, [9]).start()\n"
        "        return 'done'\n"
    )
    async with hosted(tmp_path, "echo", target=str(target)) as rig:
        assert await rig.run("go") == CallEnd(OutcomeKind.COMPLETED, b'"done"')
        await rig.until_ready(attempt=2)
        assert rig.told("model.exited")[0]["exit"] == "status 9"


async def test_the_first_restart_is_at_once_and_the_board_says_what_happened(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        os.kill(rig.pid(), signal.SIGKILL)
        await rig.until_ready(attempt=2)
        fallen = next(step for step in rig.transitions if step.old == "ready")
        assert fallen.new == "pending"
        assert fallen.failure is not None
        assert fallen.failure.error == "its process died with SIGKILL"


async def test_deaths_in_a_row_end_in_an_error_that_stays(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv", max_restarts=1) as rig:
        assert (await rig.run("kill")).kind is OutcomeKind.CRASHED
        await rig.until_ready(attempt=2)
        assert (await rig.run("kill")).kind is OutcomeKind.CRASHED
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error == "its process died with SIGKILL"
        await rig.host.reload()
        await rig.until_ready()


async def test_good_work_between_deaths_gives_the_restarts_back(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv", max_restarts=1) as rig:
        for attempt in (2, 3, 4):
            await rig.run("kill")
            await rig.until_ready(attempt)
            await rig.run("say", text="fine")


async def test_a_checkpoint_gives_the_restarts_back_too(tmp_path: Path) -> None:
    async with hosted(tmp_path, "train_steps", max_restarts=1) as rig:
        for attempt in (2, 3, 4):
            sink = Recorder()
            running = asyncio.create_task(rig.run("train", sink, steps=1000, step_seconds=0.005))
            async with asyncio.timeout(SECONDS):
                while len(sink.checkpoints) < 2:
                    await asyncio.sleep(0.005)
            os.kill(rig.pid(), signal.SIGKILL)
            assert (await running).kind is OutcomeKind.CRASHED
            await rig.until_ready(attempt)


async def test_a_call_that_eats_too_much_memory_is_blamed(tmp_path: Path) -> None:
    async with hosted(tmp_path, "eat_memory", memory_limit_bytes=400_000_000) as rig:
        assert (await rig.run("eat", megabytes=64)).kind is OutcomeKind.COMPLETED
        end = await rig.run("eat", megabytes=4000)
        assert end.kind is OutcomeKind.CRASHED
        assert end.error is not None
        assert "Out of memory" in end.error.message
        await rig.until_ready(attempt=2)
        fallen = next(step for step in rig.transitions if step.old == "ready")
        assert fallen.failure is not None
        assert fallen.failure.error_class is ErrorClass.OUT_OF_MEMORY


async def test_what_the_model_started_dies_with_it(tmp_path: Path) -> None:
    target = tmp_path / "parent.py"
    target.write_text(
        "import subprocess\nfrom glowplug import Model, task\n"
        "class Parent(Model):\n"
        "    def load(self, ctx): self.child = subprocess.Popen(['sleep', '3600'])\n"
        "    @task\n"
        "    def pid(self, ctx) -> int: return self.child.pid\n"
    )
    async with hosted(tmp_path, "echo", target=str(target)) as rig:
        pid = int((await rig.run("pid")).output_json)
        assert psutil.pid_exists(pid)
        os.kill(rig.pid(), signal.SIGKILL)
        await gone(pid)
        await rig.until_ready(attempt=2)


async def test_something_that_keeps_the_socket_open_does_not_keep_the_host_waiting(tmp_path: Path) -> None:
    target = tmp_path / "forker.py"
    target.write_text(
        "import os, time\nfrom glowplug import Model, task\n"
        "class Forker(Model):\n"
        "    def load(self, ctx):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            time.sleep(5)\n"
        "            os._exit(0)\n"
        "    @task\n"
        "    def die(self, ctx) -> None: os._exit(1)\n"
    )
    async with hosted(tmp_path, "echo", target=str(target)) as rig:
        assert (await rig.run("die")).kind is OutcomeKind.CRASHED
        await rig.until_ready(attempt=2)


async def test_garbage_on_the_socket_ends_the_process_and_not_the_host(tmp_path: Path) -> None:
    target = tmp_path / "scribbler.py"
    target.write_text(
        "import os, sys\nfrom glowplug import Model, task\n"
        "class Scribbler(Model):\n"
        "    @task\n"
        "    def scribble(self, ctx) -> None: os.write(int(sys.argv[1]), b'\\xff' * 64)\n"
    )
    async with hosted(tmp_path, "echo", target=str(target)) as rig:
        end = await rig.run("scribble")
        assert end.kind is OutcomeKind.CRASHED
        assert end.error is not None
        assert "make no sense" in end.error.message
        await rig.until_ready(attempt=2)


async def test_a_child_dies_with_its_parent_even_while_it_computes(tmp_path: Path) -> None:
    script = tmp_path / "parent_process.py"
    script.write_text(
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from glowplug import events\nfrom glowplug.clock import SystemClock\n"
        "from glowplug.process.host import Host, HostSpec\nfrom glowplug.readiness.board import Board\n"
        "events.set_sink(lambda spec, told: print(told['pid'], flush=True) if spec.name == 'model.spawned' else None)\n"
        "async def main():\n"
        "    spec = HostSpec(target=sys.argv[1], options={'seconds': '60', 'idle': '0'}, scratch=Path(sys.argv[2]))\n"
        "    await Host(spec, Board().add('model'), clock=SystemClock()).start()\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    target = Path(__file__).parents[2] / "models" / "gil_load.py"
    parent = subprocess.Popen([sys.executable, str(script), str(target), str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    async with asyncio.timeout(SECONDS):
        while psutil.Process(pid).cpu_times().user < 0.5:
            await asyncio.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await gone(pid)


async def test_a_host_that_cannot_start_a_process_tries_again_and_says_why(tmp_path: Path) -> None:
    environment = {"SOMETHING": "x" * 10_000_000}
    async with hosted(tmp_path, "echo", environment=environment, load_attempts=2, ready=False) as rig:
        failed = await rig.until_failed()
        assert failed.failure is not None
        assert failed.failure.error.startswith("no process could be started: ")
        assert failed.attempt == 2


async def test_a_terminal_interrupt_is_left_to_the_host(tmp_path: Path) -> None:
    async with hosted(tmp_path, "segv") as rig:
        door = tmp_path / "door"
        running = asyncio.create_task(rig.run("wait", path=str(door)))
        await asyncio.sleep(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(rig.pid(), number)
        door.touch()
        assert (await running).kind is OutcomeKind.COMPLETED
        assert rig.component.status is Status.READY


async def crash_together(rig: Rig, tmp_path: Path, *, waiting: int) -> list[CallEnd]:
    """Let one call crash the process while others run; return all ends."""
    others = [asyncio.create_task(rig.run("wait", path=str(tmp_path / "never"))) for _ in range(waiting)]
    async with asyncio.timeout(SECONDS):
        while rig.host.free_slots != 4 - waiting:
            await asyncio.sleep(0)
        culprit = await rig.host.run(Call(id="culprit", task="segv.die", input_json=b"{}"))
        return [*(await asyncio.gather(*others)), culprit]


async def gone(pid: int) -> None:
    """Wait until a process is no more, or only a zombie of somebody else's."""
    async with asyncio.timeout(SECONDS):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
