"""Announcements: at once when a state changes, gently while a load moves on, again and again while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.runtime.desks import ScriptedLink
from tests.unit.runtime.rig import FakeHost

from glowplug.clock import ManualClock
from glowplug.errors import Conflict, Unauthorized, Unreachable
from glowplug.lifecycle import cancel
from glowplug.link import Registered
from glowplug.readiness import Board, Snapshot, State
from glowplug.runtime.announce import Announcer, standing
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.station import Station


class Stage:
    """An announcer on a clock that is wound by hand, following a real board."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.link = ScriptedLink()
        self.board = Board(self.clock)
        self.host = FakeHost(self.board)
        self.answers: list[Registered] = []
        identity = WorkerIdentity(instance_id="w1", incarnation="i1", url="http://here:1", host="here", pid=7)
        policy = WorkerPolicy(board_seconds=0.1, heartbeat_seconds=30)
        station = Station(self.link, identity, self.clock, policy)
        self.announcer = Announcer(station, self.board, [self.host], self.answers.append)

    async def run(self) -> None:
        async def watch() -> None:
            async for snapshot in self.board.watch():
                self.announcer.changed(snapshot)

        watching = asyncio.create_task(watch())
        try:
            await self.announcer.run()
        finally:
            await cancel(watching)

    @property
    def states(self) -> list[State]:
        return [Snapshot.from_dict(message.snapshot).state for message in self.link.of("register")]


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(20):
            await made.clock.advance(0)
            yield made
        assert not running.done()
    finally:
        await cancel(running)


async def test_the_first_announcement_says_who_the_worker_is() -> None:
    async with stage() as it:
        (message,) = it.link.of("register")
        assert (message.instance_id, message.incarnation, message.sequence) == ("w1", "i1", 1)
        assert (message.url, message.host, message.pid) == ("http://here:1", "here", 7)
        assert [model.name for model in message.models] == ["echo"]
        assert it.answers == [Registered(60.0)]


async def test_a_change_of_state_is_told_at_once() -> None:
    async with stage() as it:
        it.host.component.begin()
        await it.clock.advance(0)
        it.host.component.ready()
        await it.clock.advance(0)
        it.board.drain()
        await it.clock.advance(0)
        assert it.states == [State.INITIALIZING, State.LOADING_MODELS, State.READY, State.DRAINING]
        assert [message.sequence for message in it.link.of("register")] == [1, 2, 3, 4]


async def test_progress_alone_is_told_ten_times_a_second_at_most_and_its_last_value_always() -> None:
    async with stage() as it:
        it.host.component.begin()
        it.host.component.stage("read")
        await it.clock.advance(0.2)
        before = len(it.states)
        for done in range(1, 201):
            it.host.component.advance(done=done, total=200)
            await it.clock.advance(0.01)
        await it.clock.advance(1)
        assert 15 <= len(it.states) - before <= 22
        last = Snapshot.from_dict(it.link.of("register")[-1].snapshot)
        assert last.components[0].progress.done == 200


async def test_a_worker_that_has_nothing_new_to_say_gives_a_sign_of_life() -> None:
    async with stage() as it:
        await it.clock.advance(91)
        assert len(it.states) == 4


async def test_a_load_without_news_is_told_of_each_second_because_its_estimate_changes_with_time() -> None:
    async with stage() as it:
        it.host.component.begin()
        await it.clock.advance(0.5)
        before = len(it.states)
        await it.clock.advance(10)
        assert 9 <= len(it.states) - before <= 11
        it.host.component.ready()
        await it.clock.advance(0.5)
        before = len(it.states)
        await it.clock.advance(10)
        assert len(it.states) == before


@pytest.mark.parametrize("error", [Unreachable("away"), Unauthorized("no"), Conflict("another release")])
async def test_an_announcement_is_repeated_until_it_is_answered(error: Exception) -> None:
    async with stage() as it:
        it.link.fail("register", error, times=4)
        it.announcer.push()
        await it.clock.advance(20)
        assert [message.sequence for message in it.link.of("register")] == [1, 2, 3, 4, 5, 6]
        assert len(it.answers) == 2


async def test_what_changed_during_an_outage_is_told_as_it_stands_afterwards() -> None:
    async with stage() as it:
        it.link.fail("register", Unreachable("away"), times=3)
        it.host.component.begin()
        await it.clock.advance(0)
        it.host.component.ready()
        await it.clock.advance(20)
        assert it.states[-1] is State.READY


async def test_a_change_while_an_announcement_is_under_way_follows_it() -> None:
    async with stage() as it:
        it.link.hang.add("register")
        it.announcer.push()
        await it.clock.advance(0)
        it.host.component.begin()
        it.host.component.ready()
        await it.clock.advance(0)
        assert len(it.states) == 2
        it.link.release("register")
        await it.clock.advance(0)
        assert it.states[-1] is State.READY


def test_progress_does_not_count_as_a_change_of_standing_and_a_new_attempt_does() -> None:
    board = Board(ManualClock())
    component = board.add("echo")
    component.begin()
    component.stage("read")
    first = standing(board.snapshot())
    component.advance(done=5, total=10)
    assert standing(board.snapshot()) == first
    component.begin()
    assert standing(board.snapshot()) != first
