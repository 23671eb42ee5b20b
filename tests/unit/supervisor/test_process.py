"""A worker's output line by line, and two processes that do not outlive each other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from tests.unit.supervisor.programs import LIMIT_SECONDS, OBEDIENT, ends, plan

from glowplug.supervisor import WorkerPlan, to_stderr
from glowplug.supervisor.process import MAX_LINE_BYTES, WorkerProcess

NewLoop = Callable[[], asyncio.AbstractEventLoop]
FOLLOWER = """
import signal, sys, time
from glowplug.supervisor import follow_supervisor
if {obedient}:
    signal.signal(signal.SIGTERM, lambda *_: (print('told to leave', flush=True), sys.exit(0)))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
follow_supervisor({grace})
print('up', flush=True)
time.sleep(600)
"""
LEADER = """
import asyncio, sys
from glowplug.clock import SystemClock
from glowplug.supervisor import Supervisor, WorkerPlan

async def main():
    plan = WorkerPlan(target='a', instance_id='w1', command=(sys.executable, '-u', '-c', sys.argv[1]), environment={})
    async def died(_): pass
    supervisor = Supervisor([plan], died, clock=SystemClock(), forward=lambda _, line: print(line, flush=True))
    async with supervisor:
        print(supervisor.pids['w1'], flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def output_of(program: str) -> list[str]:
    lines: list[str] = []
    process = await WorkerProcess.spawn(plan(program), lambda _, line: lines.append(line))
    async with asyncio.timeout(LIMIT_SECONDS):
        await process.exited()
        await process.close()
    return lines


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_bring_the_last_words_and_the_exit(new_loop: NewLoop) -> None:
    async def main() -> tuple[list[str], int | None]:
        lines: list[str] = []
        process = await WorkerProcess.spawn(plan(ends(7, "first", "last")), lambda _, line: lines.append(line))
        async with asyncio.timeout(LIMIT_SECONDS):
            code = await process.exited()
            await process.close()
        return lines, code

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == (["first", "last"], 7)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_end_a_worker_in_order(new_loop: NewLoop) -> None:
    async def main() -> tuple[list[str], int | None]:
        lines: list[str] = []
        up = asyncio.Event()

        def forward(_: WorkerPlan, line: str) -> None:
            lines.append(line)
            up.set()

        process = await WorkerProcess.spawn(plan(OBEDIENT), forward)
        async with asyncio.timeout(LIMIT_SECONDS):
            await up.wait()
            await process.end(10)
            code = await process.exited()
            await process.close()
        return lines, code

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == (["up", "leaving"], 0)


async def test_a_last_line_without_an_end_is_a_line() -> None:
    assert await output_of("import sys; sys.stdout.write('one\\ntwo')") == ["one", "two"]


async def test_errors_are_lines_like_others() -> None:
    assert await output_of("import sys; sys.stderr.write('oh\\r\\n')") == ["oh"]


async def test_what_is_no_text_is_shown_as_well_as_can_be() -> None:
    assert await output_of("import os; os.write(1, b'a\\xff\\n')") == ["a\ufffd"]


async def test_a_line_without_end_takes_no_memory_without_end() -> None:
    lines = await output_of(f"import os; [os.write(1, b'x' * 4096) for _ in range({4 * MAX_LINE_BYTES // 4096})]")
    assert sum(map(len, lines)) == 4 * MAX_LINE_BYTES
    assert len(lines) >= 2


async def test_lines_arrive_whole_however_they_were_written() -> None:
    program = "import os, time\nfor piece in (b'o', b'ne\\ntw', b'o\\n'):\n    os.write(1, piece); time.sleep(0.01)"
    assert await output_of(program) == ["one", "two"]


def test_a_plain_line_gets_its_target_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(plan("", "digits"), "loading")
    assert capsys.readouterr().err == "[digits] loading\n"


def test_a_line_of_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(plan("", "digits"), '{"event": "x"}')
    assert capsys.readouterr().err == '{"event": "x"}\n'


def start(*arguments: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path.cwd(),
        **more,  # type: ignore[call-overload]
    )


def test_a_worker_leaves_when_its_supervisor_closes_the_pipe() -> None:
    with start("-c", FOLLOWER.format(obedient=True, grace=30)) as follower:
        assert follower.stdout is not None
        assert follower.stdin is not None
        assert follower.stdout.readline() == "up\n"
        follower.stdin.close()
        assert follower.stdout.readline() == "told to leave\n"
        assert follower.wait(LIMIT_SECONDS) == 0


def test_a_worker_that_cannot_leave_is_killed_after_its_grace() -> None:
    with start("-c", FOLLOWER.format(obedient=False, grace=0.2)) as follower:
        assert follower.stdout is not None
        assert follower.stdin is not None
        assert follower.stdout.readline() == "up\n"
        follower.stdin.close()
        assert follower.wait(LIMIT_SECONDS) == -signal.SIGKILL


def test_a_killed_supervisor_takes_its_workers_with_it() -> None:
    with start("-c", LEADER, FOLLOWER.format(obedient=True, grace=30)) as leader:
        assert leader.stdout is not None
        pid = int(leader.stdout.readline())
        worker = psutil.Process(pid)
        assert leader.stdout.readline() == "up\n"
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait(LIMIT_SECONDS)
        worker.wait(LIMIT_SECONDS)
