"""The server's time counts, however wrong this machine's wall clock is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import Connection

from glowplug.clock import Clock, ManualClock
from glowplug.errors import BugError
from glowplug.lifecycle import cancel
from glowplug.stores.server_time import ASK_AGAIN_SECONDS, QUESTIONS, ServerTime
from glowplug.stores.sql import SqlStore

NOWHERE = cast("Connection", None)
SERVER = datetime(2026, 6, 1, 12, tzinfo=UTC)


class StepClock(Clock):
    """A clock whose monotonic time takes the given steps, one a look."""

    def __init__(self, *steps: float) -> None:
        self._steps = list(steps)
        self._monotonic = 0.0

    def now(self) -> datetime:
        return datetime(2000, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        self._monotonic += self._steps.pop(0) if self._steps else 0.0
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        del seconds


async def test_until_the_first_answer_this_machine_s_clock_counts() -> None:
    clock = ManualClock()
    assert ServerTime(clock, lambda _: SERVER).now() == clock.now()


async def test_the_server_s_time_goes_on_with_the_monotonic_clock() -> None:
    clock = ManualClock()
    time = ServerTime(clock, lambda _: SERVER)
    time.ask(NOWHERE)
    assert time.now() == SERVER
    await clock.advance(90.5)
    assert time.now() == SERVER + timedelta(seconds=90.5)
    assert time.monotonic() == clock.monotonic()


async def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    clock = ManualClock()
    time = ServerTime(clock, lambda _: SERVER)
    time.ask(NOWHERE)
    clock.jump(clock.now() - timedelta(minutes=10))
    await clock.advance(1)
    assert time.now() == SERVER + timedelta(seconds=1)


async def test_a_server_whose_clock_was_set_is_followed_at_the_next_question() -> None:
    answers = [SERVER] * QUESTIONS + [SERVER - timedelta(hours=1)] * QUESTIONS
    time = ServerTime(ManualClock(), lambda _: answers.pop(0))
    time.ask(NOWHERE)
    time.ask(NOWHERE)
    assert time.now() == SERVER - timedelta(hours=1)


def test_the_quickest_answer_is_believed() -> None:
    # Looks come in pairs around a question: the second one takes a tenth of the others.
    clock = StepClock(0.0, 1.0, 0.0, 0.1, 0.0, 1.0)
    answers = [SERVER + timedelta(days=day) for day in range(QUESTIONS)]
    time = ServerTime(clock, lambda _: answers.pop(0))
    time.ask(NOWHERE)
    # Asked at 1.0, answered at 1.1, and now it is 2.1.
    assert time.now() == SERVER + timedelta(days=1, seconds=2.1 - 1.05)


async def test_sleeping_is_this_machine_s_business() -> None:
    time = ServerTime(ManualClock(), lambda _: SERVER)
    await time.sleep(0)


async def test_an_error_of_the_server_does_not_end_the_asking(tmp_path: Path) -> None:
    class Moody(ServerTime):
        asked = 0

        def ask(self, connection: Connection) -> None:
            self.asked += 1
            raise BugError("an operation failed")

    clock = ManualClock()
    time = Moody(clock, lambda connection: SERVER)
    async with asyncio.timeout(20), SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock) as store:
        asking = asyncio.create_task(store._keep_time(time))
        while time.asked < 3:
            await clock.advance(ASK_AGAIN_SECONDS)
            await store.depths()
        await cancel(asking)
