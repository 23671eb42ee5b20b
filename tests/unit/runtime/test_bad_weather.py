"""A link that loses every fifth message, at random: no job is lost, none is finished twice, no number is missing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.unit.runtime.rig import Running, rig

from glowplug.errors import Unreachable
from glowplug.job import JobState, Note, OutcomeKind, Progress
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed
from glowplug.process.call import CallEnd

M = TypeVar("M")
A = TypeVar("A")


class Weather(Link):
    """Stands before a desk and loses requests and answers by the dice."""

    def __init__(self, desk: Link, dice: random.Random) -> None:
        self._desk = desk
        self._dice = dice

    async def register(self, message: Register) -> Registered:
        return await self._pass(self._desk.register, message)

    async def claim(self, message: Claim) -> Claimed:
        return await self._pass(self._desk.claim, message)

    async def renew(self, message: Renew) -> Renewed:
        return await self._pass(self._desk.renew, message)

    async def events(self, message: Events) -> Accepted:
        return await self._pass(self._desk.events, message)

    async def finish(self, message: Finish) -> Accepted:
        return await self._pass(self._desk.finish, message)

    async def _pass(self, call: Callable[[M], Awaitable[A]], message: M) -> A:
        if self._loses():
            raise Unreachable("the request was lost")
        answer = await call(message)
        if self._loses():
            raise Unreachable("the answer was lost")
        return answer

    def _loses(self) -> bool:
        return self._dice.random() < 0.2


async def noisy(run: Running) -> CallEnd:
    await run.sink.note(Note("metrics", {"n": 1}))
    await run.sink.note(Note("progress", progress=Progress(1, 2)))
    await asyncio.sleep(0)
    return CallEnd(OutcomeKind.COMPLETED, run.call.input_json)


@pytest.mark.parametrize("seed", range(4))
async def test_every_job_is_completed_once_through_a_storm(tmp_path: Path, seed: int) -> None:
    async with rig(tmp_path, hosts={"echo": 4}, lease_seconds=5.0) as it:
        it.host.script = noisy
        it.link.connect_to(Weather(it.gateway.desk, random.Random(seed)))
        jobs = await it.submit(count=100)
        ended = [await it.ended(job) for job in jobs]
        assert {job.state for job in ended} == {JobState.COMPLETED}
        assert [job.result for job in ended] == [{"n": n} for n in range(100)]
        assert all(job.spent.crashes == 0 for job in ended)
        for job in jobs:
            types = await it.types(job)
            assert types.count("completed") == 1
            assert types[-1] == "completed"
            assert "metrics" in types


async def test_a_worker_that_leaves_through_a_storm_leaves_no_job_behind(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 4}) as it:
        it.host.script = noisy
        weather = Weather(it.gateway.desk, random.Random(7))
        it.link.connect_to(weather)
        jobs = await it.submit(count=60)
        await it.ended(jobs[10])
        await it.worker.drain("test")
        left = [await it.job(job) for job in jobs]
        assert {job.state for job in left} <= {JobState.COMPLETED, JobState.QUEUED}
        assert all(job.spent.crashes == 0 for job in left)
