"""A beat: all that wait are nudged together, and nothing ticks when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Subscription
from glowplug.web.beat import Beat

SECONDS = 15.0
BOUND_SECONDS = 20.0


class Timers:
    """What an event loop was asked to call later, called when the test says so."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Any]] = []

    def call_later(self, seconds: float, call: Any, *arguments: Any) -> None:
        self.set.append((seconds, lambda: call(*arguments)))

    def strike(self) -> None:
        """Let all run out that are set now."""
        due, self.set = self.set, []
        for _, call in due:
            call()


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    made = Timers()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", made.call_later)
    return made


@contextmanager
def waiting(beat: Beat, count: int) -> Iterator[list[Subscription]]:
    """Yield subscriptions that the beat nudges, none of which has news."""
    board = Board(ManualClock())
    news = [board.subscribe(after=board.version) for _ in range(count)]
    with ExitStack() as stack:
        for one in news:
            stack.enter_context(beat.nudging(one))
        yield news


async def test_one_timer_nudges_all_again_and_again(timers: Timers) -> None:
    with waiting(Beat(SECONDS), 3) as news:
        for _ in range(2):
            heard = [asyncio.ensure_future(one.heard()) for one in news]
            await asyncio.sleep(0)
            assert [seconds for seconds, _ in timers.set] == [SECONDS]
            timers.strike()
            assert await asyncio.gather(*heard) == [None, None, None]


async def test_one_that_is_busy_is_not_nudged_later(timers: Timers) -> None:
    with waiting(Beat(SECONDS), 1) as (news,):
        timers.strike()
        heard = asyncio.ensure_future(news.heard())
        await asyncio.sleep(0)
        assert not heard.done()
        news.close()
        assert await heard is None


async def test_the_timer_is_not_set_again_when_nobody_is_left(timers: Timers) -> None:
    with waiting(Beat(SECONDS), 2):
        pass
    timers.strike()
    assert timers.set == []


async def test_who_comes_after_the_last_has_left_is_nudged_too_by_one_timer(timers: Timers) -> None:
    beat = Beat(SECONDS)
    with waiting(beat, 1):
        pass
    with waiting(beat, 1):
        assert len(timers.set) == 1
        timers.strike()
        assert len(timers.set) == 1
    timers.strike()
    with waiting(beat, 1):
        assert len(timers.set) == 1


def test_each_event_loop_has_a_timer_of_its_own() -> None:
    beat = Beat(0.001)

    async def heard() -> None:
        with waiting(beat, 1) as (news,):
            async with asyncio.timeout(BOUND_SECONDS):
                assert await news.heard() is None

    for _ in range(2):
        asyncio.run(heard())
