"""One way to live: start, started, stop, and what happens when any of them fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from glowplug.lifecycle import Startable, cancel, in_thread, running, stop_all, stop_if_canceled

SECONDS = 20.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


class Part(Startable):
    """Writes down what happens to it."""

    def __init__(self, name: str, book: list[str], *, fails_to: str = "") -> None:
        self.name = name
        self.book = book
        self.fails_to = fails_to

    async def _start(self) -> None:
        self.book.append(f"start {self.name}")
        if self.fails_to == "start":
            raise ValueError(self.name)

    async def _stop(self) -> None:
        self.book.append(f"stop {self.name}")
        if self.fails_to in ("stop", "start"):
            raise RuntimeError(self.name)


@pytest.fixture
def book() -> list[str]:
    return []


async def test_a_part_starts_once_and_stops_once(book: list[str]) -> None:
    part = Part("a", book)
    seen = [part.started]
    for change in (part.start, part.start, part.stop, part.stop):
        await change()
        seen.append(part.started)
    assert seen == [False, True, True, False, False]
    assert book == ["start a", "stop a"]


async def test_a_part_that_never_started_stops_without_a_word(book: list[str]) -> None:
    await Part("a", book).stop()
    assert book == []


async def test_a_stopped_part_starts_again(book: list[str]) -> None:
    part = Part("a", book)
    for _ in range(2):
        async with part as entered:
            assert entered is part
    assert book == ["start a", "stop a"] * 2


async def test_a_half_done_start_is_undone_and_its_own_error_is_raised(book: list[str]) -> None:
    part = Part("a", book, fails_to="start")
    with pytest.raises(ValueError, match="a"):
        await part.start()
    assert book == ["start a", "stop a"]
    assert not part.started


async def test_a_start_that_is_canceled_is_undone(book: list[str]) -> None:
    entered = asyncio.Event()

    class Slow(Part):
        async def _start(self) -> None:
            await super()._start()
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(Slow("a", book).start())
    await entered.wait()
    await cancel(task)
    assert task.cancelled()
    assert book == ["start a", "stop a"]


async def test_a_part_that_fails_to_stop_counts_as_stopped(book: list[str]) -> None:
    part = Part("a", book, fails_to="stop")
    await part.start()
    with pytest.raises(RuntimeError):
        await part.stop()
    assert not part.started


async def test_parts_start_in_order_and_stop_in_the_opposite_order(book: list[str]) -> None:
    async with running([Part("a", book), Part("b", book)]):
        book.append("run")
    assert book == ["start a", "start b", "run", "stop b", "stop a"]


async def test_when_one_fails_to_start_those_before_it_stop(book: list[str]) -> None:
    with pytest.raises(ValueError, match="b"):
        async with running([Part("a", book), Part("b", book, fails_to="start"), Part("c", book)]):
            book.append("run")
    assert book == ["start a", "start b", "stop b", "stop a"]


async def test_an_error_inside_stops_everything_and_is_raised(book: list[str]) -> None:
    with pytest.raises(KeyError):
        async with running([Part("a", book), Part("b", book)]):
            raise KeyError
    assert book[-2:] == ["stop b", "stop a"]


async def test_all_are_stopped_and_the_first_error_is_raised(book: list[str]) -> None:
    parts = [Part("a", book, fails_to="stop"), Part("b", book, fails_to="stop"), Part("c", book)]
    for part in parts:
        await part.start()
    with pytest.raises(RuntimeError, match="a"):
        await stop_all(parts)
    assert book[3:] == ["stop a", "stop b", "stop c"]


async def test_canceling_waits_for_the_end_of_the_task(book: list[str]) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            book.append("cleaned")

    task = asyncio.create_task(work())
    await entered.wait()
    await cancel(task)
    assert book == ["cleaned"]


async def test_canceling_hides_what_the_task_ended_with() -> None:
    async def fail() -> None:
        raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await cancel(task)
    await cancel(None)
    assert isinstance(task.exception(), ValueError)


async def test_a_canceler_that_is_itself_canceled_hears_of_it() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()

    task = asyncio.create_task(stubborn())
    await entered.wait()
    canceler = asyncio.create_task(cancel(task))
    await asyncio.sleep(0)
    canceler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await canceler
    go.set()
    await task


async def test_blocking_work_runs_in_a_thread_and_answers() -> None:
    name = await in_thread(None, lambda: threading.current_thread().name)
    assert name != threading.current_thread().name


async def test_blocking_work_raises_its_own_error() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await in_thread(None, fail)


async def test_a_canceled_caller_is_let_go_only_when_the_thread_is_done(book: list[str]) -> None:
    loop = asyncio.get_running_loop()
    entered, go = asyncio.Event(), threading.Event()

    def work() -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(SECONDS)
        book.append("done")

    task = asyncio.create_task(in_thread(None, work))
    await entered.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert book == ["done"]


async def test_a_cancellation_that_a_library_has_lost_ends_the_loop_after_all() -> None:
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        while True:
            # As a library does that makes something of its own of a cancellation.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            rounds += 1
            stop_if_canceled()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await cancel(task)
    assert (task.cancelled(), rounds) == (True, 1)
    stop_if_canceled()
