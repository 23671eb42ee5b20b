"""Clocks: the machine's, and the one that tests wind by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from glowplug.clock import ManualClock, SystemClock
from glowplug.lifecycle import cancel

SECONDS = 20.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_the_system_s_clock_knows_its_zone_and_goes_forward() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() > first
    assert clock.now().utcoffset() == timedelta(0)


async def test_sleeping_for_less_than_nothing_is_not_sleeping() -> None:
    await SystemClock().sleep(-5)
    await ManualClock().sleep(-5)


async def test_a_wound_clock_stands_still_by_itself(clock: ManualClock) -> None:
    assert (clock.now(), clock.monotonic()) == (clock.now(), clock.monotonic())
    assert clock.now().tzinfo is UTC


async def test_winding_moves_both_clocks(clock: ManualClock) -> None:
    before = clock.now()
    await clock.advance(90.5)
    assert (clock.now() - before, clock.monotonic()) == (timedelta(seconds=90.5), 90.5)


async def test_small_steps_add_up_without_loss(clock: ManualClock) -> None:
    before = clock.now()
    for _ in range(1000):
        await clock.advance(0.001)
    assert abs((clock.now() - before).total_seconds() - 1.0) < 1e-4
    assert abs(clock.monotonic() - 1.0) < 1e-9


async def test_sleepers_wake_in_the_order_of_their_deadlines_at_their_own_moment(clock: ManualClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("middle", 2.0)):
            group.create_task(sleeper(name, seconds))
        await clock.advance(2.5)
        assert woken == [("first", 1.0), ("second", 1.0), ("middle", 2.0)]
        await clock.advance(0.5)
    assert woken[-1] == ("late", 3.0)


async def test_a_sleeper_that_sleeps_again_is_woken_within_one_winding(clock: ManualClock) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(10)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(35)
    assert ticks == [10, 20, 30]
    await cancel(task)


async def test_a_sleeper_that_was_canceled_is_passed_over(clock: ManualClock) -> None:
    task = asyncio.create_task(clock.sleep(5))
    await clock.advance(1)
    await cancel(task)
    await clock.advance(10)
    assert task.cancelled()


async def test_the_wall_clock_can_jump_alone(clock: ManualClock) -> None:
    await clock.advance(5)
    clock.jump(datetime(2020, 1, 1, tzinfo=UTC))
    assert (clock.now(), clock.monotonic()) == (datetime(2020, 1, 1, tzinfo=UTC), 5)
    await clock.advance(1)
    assert (clock.now(), clock.monotonic()) == (datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC), 6)
