"""A model's process is a fresh one, tied to ours, with nothing of ours in it that it should not have."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from glowplug.process.guard import EXIT_HOST_GONE, OOM_SCORE
from glowplug.process.protocol import Begin, Unload, packed
from glowplug.process.spawn import Spawned, can_bind_life, child_environment, kill_group, spawn, wait_exit
from glowplug.process.vitals import Vitals, oom_kills

ECHO = Path(__file__).parents[2] / "models" / "echo.py"
SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]
BUSY = [sys.executable, "-c", "while True: pass"]


def begin(parent_pid: int | None = None) -> Begin:
    return Begin(str(ECHO), "cpu", {}, None, parent_pid or os.getpid(), True)


def spawned(parent_pid: int | None = None) -> Spawned:
    return spawn(begin(parent_pid), child_environment(os.environ))


async def ended(made: Spawned) -> int:
    async with asyncio.timeout(20):
        status = await wait_exit(made.process)
    made.connection.close()
    os.close(made.output)
    return status


async def heard(made: Spawned) -> None:
    """Wait until the process has spoken: it has prepared itself by then."""
    async with asyncio.timeout(20):
        await asyncio.get_running_loop().sock_recv(made.connection, 1)


async def test_the_process_has_a_session_of_its_own_and_prepared_itself(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        made = spawned()
    await heard(made)
    assert os.getsid(made.process.pid) == made.process.pid
    if sys.platform == "linux":
        assert int(Path(f"/proc/{made.process.pid}/oom_score_adj").read_text()) == OOM_SCORE
    assert str(tmp_path / "ours") not in {entry.path for entry in psutil.Process(made.process.pid).open_files()}
    os.kill(made.process.pid, signal.SIGTERM)
    made.connection.setblocking(True)
    made.connection.sendall(packed(Unload()))
    assert await ended(made) == 0


async def test_a_process_whose_host_hangs_up_ends() -> None:
    made = spawned()
    await heard(made)
    made.connection.close()
    assert await ended(made) == EXIT_HOST_GONE


async def test_a_process_that_was_orphaned_before_it_began_ends() -> None:
    made = spawned(parent_pid=1)
    assert await ended(made) == EXIT_HOST_GONE


async def test_a_process_that_cannot_be_started_leaves_nothing_open() -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(OSError, match="too long"):
        spawn(begin(), {"LARGE": "x" * 10_000_000})
    assert psutil.Process().num_fds() == before


async def test_waiting_for_an_exit_can_be_given_up() -> None:
    process = subprocess.Popen(SLEEP, start_new_session=True)
    before = psutil.Process().num_fds()
    waiting = asyncio.create_task(wait_exit(process))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert psutil.Process().num_fds() == before
    process.kill()
    assert await wait_exit(process) == -signal.SIGKILL


async def test_killing_takes_everything_that_the_process_started() -> None:
    code = f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(3600)"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    grandchild = psutil.Process(int(process.stdout.readline()))
    kill_group(process.pid)
    assert await wait_exit(process) == -signal.SIGKILL
    process.stdout.close()
    async with asyncio.timeout(20):
        while grandchild.is_running() and grandchild.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


def test_killing_what_is_gone_is_fine() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    kill_group(process.pid)


def test_only_what_was_started_from_the_main_thread_is_bound_to_it() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(can_bind_life()))
    thread.start()
    thread.join()
    assert (can_bind_life(), found) == (True, [False])


def test_the_environment_keeps_what_is_the_models_and_loses_what_is_the_platforms() -> None:
    seen = child_environment(
        {"PATH": "p", "HF_TOKEN": "t", "GLOWPLUG_WORKER_TOKEN": "w", "RABBITMQ_PASSWORD": "r", "BACKEND_URL": "b"}
    )
    assert {"PATH", "HF_TOKEN"} <= set(seen)
    assert not {"GLOWPLUG_WORKER_TOKEN", "RABBITMQ_PASSWORD", "BACKEND_URL"} & set(seen)


def test_a_models_libraries_tell_nobody_how_they_are_used_unless_the_operator_wants_it() -> None:
    switches = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY")
    seen = child_environment({})
    assert [seen[name] for name in switches] == ["1", "1", "1"]
    assert child_environment({"ORT_DISABLE_TELEMETRY": "0"})["ORT_DISABLE_TELEMETRY"] == "0"


def test_a_process_that_computes_moves_and_one_that_sleeps_does_not() -> None:
    busy, idle = subprocess.Popen(BUSY), subprocess.Popen(SLEEP)
    try:
        computing, sleeping = Vitals(busy.pid), Vitals(idle.pid)
        while psutil.Process(busy.pid).cpu_times().user < 0.1:
            pass
        assert computing.moved()
        while psutil.Process(idle.pid).status() != psutil.STATUS_SLEEPING:
            pass
        sleeping.moved()
        assert not sleeping.moved()
        assert computing.memory_bytes() > 0
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()
    assert not computing.moved()
    assert computing.memory_bytes() == 0


def test_work_of_a_grandchild_counts() -> None:
    code = f"import subprocess; subprocess.run({BUSY!r})"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        vitals = Vitals(process.pid)
        while not (children := psutil.Process(process.pid).children()):
            pass
        vitals.moved()
        before = children[0].cpu_times().user
        while children[0].cpu_times().user < before + 0.1:
            pass
        assert vitals.moved()
    finally:
        kill_group(process.pid)
        process.wait()


def test_the_kernels_kills_are_counted_where_it_tells() -> None:
    assert oom_kills() >= 0
