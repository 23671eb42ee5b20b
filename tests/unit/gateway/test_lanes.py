"""Lanes: how much at once, how much of it for one target, and how long one more would wait."""

from __future__ import annotations

import asyncio

from tests.unit.gateway.listeners import until

from glowplug.clock import ManualClock
from glowplug.gateway.lanes import Lanes


class Crowd:
    """Those who take a lane and keep it until `leave` is set."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.inside: list[str] = []
        self.leave = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, target: str, count: int) -> None:
        self.tasks += [asyncio.create_task(self._use(target)) for _ in range(count)]

    async def _use(self, target: str) -> None:
        async with self.lanes.one(target):
            self.inside.append(target)
            try:
                await self.leave.wait()
            finally:
                self.inside.remove(target)

    async def gone(self) -> None:
        self.leave.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_one_target_takes_only_its_share() -> None:
    lanes = Lanes(5, 2, ManualClock())
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        crowd.come("slow", 10)
        await until(lambda: crowd.inside == ["slow"] * 2)
        assert (lanes.waiting("slow"), lanes.waiting("fast")) == (8, 0)
        crowd.come("fast", 2)
        await until(lambda: crowd.inside.count("fast") == 2)
        await crowd.gone()
    assert lanes.waiting("slow") == 0


async def test_all_together_take_no_more_than_there_is() -> None:
    lanes = Lanes(3, 2, ManualClock())
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        for target in ("a", "b", "c"):
            crowd.come(target, 2)
        await until(lambda: len(crowd.inside) == 3)
        await asyncio.sleep(0.01)
        assert len(crowd.inside) == 3
        await crowd.gone()


async def test_a_target_without_a_name_has_no_share_of_its_own() -> None:
    lanes = Lanes(4, 1, ManualClock())
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        crowd.come("", 6)
        await until(lambda: len(crowd.inside) == 4)
        assert (lanes.waiting(""), lanes.expected_seconds("")) == (0, 0.0)
        await crowd.gone()


async def test_the_wait_is_expected_from_what_is_under_way() -> None:
    clock = ManualClock()
    lanes = Lanes(4, 2, clock)
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        crowd.come("slow", 6)
        await until(lambda: len(crowd.inside) == 2)
        assert lanes.expected_seconds("slow") == 0.0
        await clock.advance(10)
        # Four wait, two at a time, and those inside have taken ten seconds so far.
        assert lanes.expected_seconds("slow") == 20.0
        await crowd.gone()


async def test_the_wait_is_expected_from_what_turns_have_taken() -> None:
    clock = ManualClock()
    lanes = Lanes(4, 1, clock)
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        crowd.come("slow", 1)
        await until(lambda: crowd.inside == ["slow"])
        crowd.come("slow", 1)
        await clock.advance(10)
        crowd.tasks[0].cancel()
        await until(lambda: lanes.waiting("slow") == 0)
        crowd.come("slow", 3)
        await until(lambda: lanes.waiting("slow") == 3)
        assert lanes.expected_seconds("slow") == 6.0
        await crowd.gone()


async def test_one_who_gives_up_waiting_leaves_its_place() -> None:
    lanes = Lanes(1, 1, ManualClock())
    async with asyncio.timeout(10):
        crowd = Crowd(lanes)
        crowd.come("a", 3)
        await until(lambda: lanes.waiting("a") == 2)
        crowd.tasks[1].cancel()
        await until(lambda: lanes.waiting("a") == 1)
        await crowd.gone()
    assert lanes.waiting("a") == 0
