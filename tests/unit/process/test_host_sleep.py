"""A model that is not preloaded: imported, so that it is known, and asleep until somebody asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.unit.process.rig import MODELS, SECONDS, Rig, hosted

from glowplug.errors import Conflict, NotReady
from glowplug.job import OutcomeKind
from glowplug.process.host import Call
from glowplug.readiness.state import Status


async def asleep(rig: Rig) -> None:
    await rig.until(lambda seen: seen.status is Status.SLEEPING)


async def test_its_tasks_are_known_and_nothing_is_loaded(tmp_path: Path) -> None:
    async with hosted(tmp_path, "slow_load", preload=False, ready=False) as rig:
        await asleep(rig)
        assert rig.host.info is not None
        assert [task.name for task in rig.host.info.tasks] == ["slowload.say"]
        assert rig.component.snapshot().timings.load_time_ms is None
        assert rig.host.free_slots == 0


async def test_a_call_is_told_that_it_sleeps(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        end = await rig.host.run(Call(id="early", task="echo.say", input_json=b'{"text": "a"}'))
        assert end.kind is OutcomeKind.FAILED
        assert isinstance(end.error, NotReady)
        assert "sleeping" in end.error.message


async def test_it_loads_when_asked_and_serves(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        await rig.host.reload()
        seen = await rig.until_ready()
        assert seen.attempt == 1
        assert seen.timings.load_time_ms is not None
        assert (await rig.run("say", text="a", times=2)).output_json == b'"aa"'


async def test_asking_twice_loads_once(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        await rig.host.reload()
        await rig.host.reload()
        await rig.until_ready()
        with pytest.raises(Conflict):
            await rig.host.reload()
        assert len(rig.told("model.spawned")) == 1


async def test_no_deadline_runs_while_it_sleeps(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        assert rig.component.deadline() is None
        assert not rig.component.stalled(now=1e12)


async def test_a_process_that_dies_in_its_sleep_is_replaced_by_a_sleeping_one(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        os.kill(rig.told("model.spawned")[0]["pid"], signal.SIGKILL)
        await rig.until(lambda seen: seen.status is Status.SLEEPING and seen.attempt == 2)
        await rig.host.reload()
        await rig.until_ready(attempt=2)


async def test_once_used_it_comes_back_by_itself_after_a_crash(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        await rig.host.reload()
        await rig.until_ready()
        os.kill(rig.told("model.spawned")[0]["pid"], signal.SIGKILL)
        await rig.until_ready(attempt=2)


async def test_it_may_be_stopped_in_its_sleep(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo", preload=False, ready=False) as rig:
        await asleep(rig)
        async with asyncio.timeout(SECONDS):
            await rig.host.stop()
        assert rig.component.status is Status.SLEEPING


async def test_a_model_that_failed_for_good_is_given_up_until_somebody_asks(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such driver')")
    target = str(tmp_path / "broken.py")
    async with hosted(tmp_path, "broken", target=target, load_attempts=1, ready=False) as rig:
        async with asyncio.timeout(SECONDS):
            await rig.host.wait_given_up()
        assert rig.component.status is Status.ERROR
        (tmp_path / "broken.py").write_text((MODELS / "echo.py").read_text())
        await rig.host.reload()
        await rig.until_ready(attempt=2)
        assert not given_up(rig)


async def test_a_load_that_stalled_for_good_is_given_up_too(tmp_path: Path) -> None:
    options = {"seconds": "60"}
    deadlines = {"startup_timeout_seconds": 1.0, "load_attempts": 1}
    async with hosted(tmp_path, "slow_load", options=options, ready=False, **deadlines) as rig:
        async with asyncio.timeout(SECONDS):
            await rig.host.wait_given_up()
        failure = rig.component.snapshot().failure
        assert failure is not None
        assert "timeout" in failure.error


async def test_a_model_that_will_be_tried_again_is_not_given_up(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        os.kill(rig.told("model.spawned")[0]["pid"], signal.SIGKILL)
        await rig.until_ready(attempt=2)
        assert not given_up(rig)


def given_up(rig: Rig) -> bool:
    waiting = rig.host.wait_given_up()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    finally:
        waiting.close()
    return False
