"""Whatever happens together: every call ends, every slot comes back, nothing is left open."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest
from tests.unit.process.rig import SECONDS, Recorder, Rig, hosted

from glowplug.errors import NotReady
from glowplug.job import OutcomeKind
from glowplug.process.host import CallEnd

CALLS, KILLS = 300, 6


@pytest.mark.parametrize("seed", [1, 2])
async def test_calls_stops_and_kills_in_any_order_leave_no_call_hanging(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with hosted(tmp_path, "segv", max_restarts=1000) as rig:
        before = psutil.Process().num_fds()
        killer = asyncio.create_task(kill_at_random(rig, chance))
        async with asyncio.timeout(4 * SECONDS):
            ends = await asyncio.gather(*(one_call(rig, chance, number) for number in range(CALLS)))
            await killer
            await rig.until_ready()
        kinds = Counter(end.kind for end in ends)
        assert kinds[OutcomeKind.COMPLETED] > CALLS / 10
        assert set(kinds) <= {*OutcomeKind} - {OutcomeKind.LOST}
        assert all(isinstance(end.error, NotReady) for end in ends if end.kind is OutcomeKind.FAILED)
        for _ in range(CALLS):
            if rig.host.free_slots == 4:
                break
            assert (await rig.run("say", text="well")).kind is OutcomeKind.COMPLETED
        assert rig.host.free_slots == 4
        assert len(rig.told("model.spawned")) == KILLS + 1
        assert abs(psutil.Process().num_fds() - before) <= 2


async def kill_at_random(rig: Rig, chance: random.Random) -> None:
    """Kill the process a number of times, each time after it has served a little."""
    for attempt in range(1, KILLS + 1):
        await rig.until_ready(attempt)
        # Good work first, so that the restart comes at once.
        while (await rig.run("say", text="x")).kind is not OutcomeKind.COMPLETED:
            await asyncio.sleep(0)
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        os.kill(rig.pid(), signal.SIGKILL)
        await rig.until(lambda seen, attempt=attempt: seen.attempt > attempt)  # type: ignore[misc]


async def one_call(rig: Rig, chance: random.Random, number: int) -> CallEnd:
    """Make a call once the model is ready, and perhaps stop it."""
    while not rig.component.status.can_serve or chance.random() < 0.9:
        await asyncio.sleep(chance.random() / 50)
    name = str(number)
    if chance.random() < 0.7:
        return await rig.host.run(rig.call("say", call_id=name, text=name), Recorder())
    running = asyncio.create_task(rig.host.run(rig.call("wait", call_id=name, path="/never/there"), Recorder()))
    await asyncio.sleep(chance.random() / 50)
    rig.host.stop_call(name, chance.choice([OutcomeKind.CANCELED, OutcomeKind.INTERRUPTED]))
    return await running


async def test_starting_and_stopping_many_times_leaves_nothing_open(tmp_path: Path) -> None:
    async with hosted(tmp_path, "echo") as rig:
        await rig.host.stop()
        before = psutil.Process().num_fds()
        for turn in range(8):
            await rig.host.start()
            if turn % 2:
                await rig.until_ready()
            await rig.host.stop()
        assert psutil.Process().num_fds() == before
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
