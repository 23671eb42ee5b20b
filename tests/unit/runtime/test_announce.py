"""How often the gateway hears of a worker's readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.runtime.desks import ScriptedLink

from glowplug.clock import ManualClock
from glowplug.lifecycle import cancel
from glowplug.readiness import Board, Load, MergedBoard, Snapshot
from glowplug.readiness.history import MemoryHistories
from glowplug.runtime.announce import Announcer
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.station import Station

POLICY = WorkerPolicy()
USUAL = Load((("start", 0.5), ("import", 60.0), ("warm up", 1.0)))


class Post:
    """A worker with one model, and the link over which it announces itself, on a clock that is wound by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.link = ScriptedLink()
        histories = MemoryHistories()
        histories.record("echo@", USUAL)
        self.board = Board(self.clock, histories)
        self.component = self.board.add("echo", model="echo")
        station = Station(self.link, WorkerIdentity(instance_id="w", incarnation="1"), self.clock, POLICY)
        self.announcer = Announcer(station, self.board, [], lambda registered: None)

    @property
    def told(self) -> list[Snapshot]:
        """Return the pictures that the gateway got, in order."""
        return [Snapshot.from_dict(message.snapshot) for message in self.link.of("register")]

    async def watch(self) -> None:
        """Hand on the board's changes, as the worker does."""
        async for snapshot in self.board.watch():
            self.announcer.changed(snapshot)


@asynccontextmanager
async def post() -> AsyncIterator[Post]:
    it = Post()
    duties = [asyncio.create_task(it.announcer.run()), asyncio.create_task(it.watch())]
    try:
        await it.clock.advance(1.0)
        yield it
    finally:
        for duty in duties:
            await cancel(duty)


async def test_a_change_of_state_is_told_at_once() -> None:
    async with post() as it:
        before = len(it.told)
        it.component.begin()
        await it.clock.advance(0.0)
        assert len(it.told) == before + 1
        it.component.ready()
        await it.clock.advance(0.0)
        assert it.told[-1].ready


async def test_a_counter_that_runs_is_told_ten_times_a_second_at_most_and_with_its_last_count() -> None:
    async with post() as it:
        it.component.stage("import")
        await it.clock.advance(1.0)
        before = len(it.told)
        for done in range(1, 101):
            it.component.advance(done=done, total=100)
            await it.clock.advance(0.01)
        await it.clock.advance(POLICY.board_seconds)
        assert before + 8 <= len(it.told) <= before + 12
        progress = it.told[-1].components[0].progress
        assert progress is not None
        assert progress.done == 100


async def test_a_stage_without_a_counter_is_told_of_each_second_because_the_estimate_goes_on() -> None:
    async with post() as it:
        it.component.stage("import")
        await it.clock.advance(0.0)
        before = len(it.told)
        await it.clock.advance(10 * POLICY.loading_seconds)
        assert len(it.told) == before + 10


async def test_the_gateway_shows_nearly_the_workers_estimate_even_of_a_load_that_is_late() -> None:
    async with post() as it:
        it.component.stage("import")
        await it.clock.advance(180.0)
        gateway = MergedBoard(it.clock)
        gateway.report("w", it.told[-1])
        await it.clock.advance(POLICY.loading_seconds)
        here, there = it.board.snapshot().estimate, gateway.snapshot().estimate
        assert here is not None
        assert there is not None
        assert abs(here.p50_seconds - there.p50_seconds) <= 2 * POLICY.loading_seconds
        assert there.overrun.startswith("Longer than usual")


async def test_a_worker_that_neither_loads_nor_changes_is_heard_of_rarely() -> None:
    async with post() as it:
        it.component.ready()
        await it.clock.advance(0.0)
        before = len(it.told)
        await it.clock.advance(2.1 * POLICY.heartbeat_seconds)
        assert len(it.told) == before + 2
