"""The server's time goes on by this machine's monotonic clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from glowplug.clock import ManualClock
from glowplug.stores.mongo.server_time import QUESTIONS, MongoTime

THERE = datetime(2030, 5, 5, tzinfo=UTC)


class SlowServer:
    """Answers after so many seconds of a manual clock, with the time at the middle of it."""

    def __init__(self, clock: ManualClock, *delays: float, zone: bool = True) -> None:
        self._clock = clock
        self._delays = list(delays)
        self._begun = clock.monotonic()
        self._zone = zone

    async def ask(self) -> datetime:
        delay = self._delays.pop(0)
        await self._clock.advance(delay / 2)
        said = THERE + timedelta(seconds=self._clock.monotonic() - self._begun)
        await self._clock.advance(delay / 2)
        return said if self._zone else said.replace(tzinfo=None)


async def test_before_the_first_answer_it_is_the_machine_s() -> None:
    clock = ManualClock()
    assert MongoTime(clock, SlowServer(clock).ask).now() == clock.now()


async def test_it_is_the_server_s_and_goes_on_with_the_monotonic_clock() -> None:
    clock = ManualClock()
    time = MongoTime(clock, SlowServer(clock, *[0.2] * QUESTIONS).ask)
    await time.measure()
    assert time.now() == THERE + timedelta(seconds=clock.monotonic())
    await clock.advance(3600)
    clock.jump(datetime(1999, 1, 1, tzinfo=UTC))
    assert time.now() == THERE + timedelta(seconds=clock.monotonic())


async def test_of_several_answers_the_quickest_is_believed() -> None:
    clock = ManualClock()
    asked: list[float] = []
    server = SlowServer(clock, 4.0, 0.0, 8.0)

    async def ask() -> datetime:
        asked.append(clock.monotonic())
        # What takes long comes back late only: half of it is no good guess of when the server looked.
        said = await server.ask()
        return said - timedelta(seconds=1 if len(asked) != 2 else 0)

    time = MongoTime(clock, ask)
    await time.measure()
    assert time.now() == THERE + timedelta(seconds=clock.monotonic())


async def test_a_time_without_a_zone_is_utc() -> None:
    clock = ManualClock()
    time = MongoTime(clock, SlowServer(clock, *[0.0] * QUESTIONS, zone=False).ask)
    await time.measure()
    assert time.now() == THERE


async def test_a_question_that_nobody_answers_leaves_the_time_as_it_was() -> None:
    clock = ManualClock()
    server = SlowServer(clock, *[0.0] * QUESTIONS)
    time = MongoTime(clock, server.ask)
    await time.measure()
    await clock.advance(5)
    with pytest.raises(IndexError):
        await time.measure()
    assert time.now() == THERE + timedelta(seconds=5)
