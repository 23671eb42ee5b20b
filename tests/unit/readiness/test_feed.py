"""Telling watchers: newest only, from any thread, into any loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import aclosing

import pytest

from glowplug.clock import ManualClock
from glowplug.errors import Draining, LoadFailed, NotFound, NotReady
from glowplug.readiness import Board, Component, Snapshot


@pytest.fixture
def tts(board: Board) -> Component:
    return board.add("tts", model="xtts")


async def test_a_watcher_gets_the_present_at_once(board: Board, tts: Component) -> None:
    tts.begin()
    async with asyncio.timeout(20), aclosing(board.watch()) as pictures:
        assert (await anext(pictures)).services()["tts"]["status"] == "loading"


async def test_a_watcher_hears_each_change_that_it_waits_for(board: Board, tts: Component) -> None:
    seen: list[str] = []
    async with asyncio.timeout(20), aclosing(board.watch()) as pictures:
        for report in (tts.begin, tts.warming, tts.ready, lambda: None):
            seen.append((await anext(pictures)).state.value)
            report()
    assert seen == ["INITIALIZING", "LOADING_MODELS", "WARMING_UP", "READY"]


async def test_a_slow_watcher_gets_the_newest_and_only_that(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        await anext(news)
        tts.begin()
        tts.stage("read")
        for done in range(1000):
            tts.advance(done=done, total=1000)
            if done % 100 == 0:
                await asyncio.sleep(0)
        tts.ready()
        pictures = [await anext(news)]
        while not pictures[-1].ready:
            pictures.append(await anext(news))
    assert len(pictures) <= 2


async def test_no_picture_is_sent_twice(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        first = await anext(news)
        board.publish()
        board.publish()
        tts.ready()
        second = await anext(news)
    assert second.version > first.version
    assert second.ready


async def test_who_saw_a_version_waits_for_the_next(board: Board, tts: Component) -> None:
    seen = board.snapshot().version
    async with asyncio.timeout(20), board.subscribe(after=seen) as news:
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        assert not waiting.done()
        tts.ready()
        assert (await waiting).version > seen


async def test_who_saw_an_older_version_gets_the_present(board: Board, tts: Component) -> None:
    seen = board.snapshot().version
    tts.ready()
    async with asyncio.timeout(20), board.subscribe(after=seen) as news:
        assert (await anext(news)).ready


async def test_a_closed_subscription_ends(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        news = board.subscribe()
        await anext(news)
        waiting = asyncio.ensure_future(anext(news, None))
        await asyncio.sleep(0)
        news.close()
        assert await waiting is None
        assert [one async for one in news] == []


async def test_changes_from_another_thread_arrive(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        await anext(news)
        thread = threading.Thread(target=tts.ready)
        thread.start()
        assert (await anext(news)).ready
        await asyncio.to_thread(thread.join, 20)


async def test_several_loops_watch_the_same_board(board: Board, tts: Component) -> None:
    watching = [threading.Event() for _ in range(3)]
    finals: list[Snapshot] = []

    async def watch(number: int) -> None:
        async with asyncio.timeout(20), aclosing(board.watch()) as pictures:
            async for one in pictures:
                watching[number].set()
                if one.ready:
                    finals.append(one)
                    return

    threads = [threading.Thread(target=asyncio.run, args=(watch(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for event in watching:
        assert await asyncio.to_thread(event.wait, 20)
    tts.ready()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)
    assert len(finals) == 3


def test_a_loop_that_was_closed_is_forgotten(board: Board, tts: Component) -> None:
    loop = asyncio.new_event_loop()

    async def subscribe() -> object:
        return board.subscribe()

    kept = loop.run_until_complete(subscribe())
    loop.close()
    tts.ready()
    assert kept is not None
    assert loop not in board._loops


async def test_a_watcher_that_went_away_without_a_word_costs_nothing(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        async for _ in board.subscribe():
            break
        gc.collect()
        assert not board._loops[asyncio.get_running_loop()].subscriptions


async def test_a_thousand_watchers_are_woken_together(board: Board, tts: Component) -> None:
    taken = 0
    take = board.snapshot

    def counted() -> Snapshot:
        nonlocal taken
        taken += 1
        return take()

    async def until_ready() -> None:
        async for one in board.subscribe():
            if one.ready:
                return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(until_ready())
        await asyncio.sleep(0)
        board.snapshot = counted  # type: ignore[method-assign]
        tts.begin()
        tts.stage("read")
        tts.ready()
    assert taken <= 3


async def test_one_watcher_that_never_reads_blocks_nobody(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as idle, board.subscribe() as news:
        for _ in range(100):
            tts.begin()
            await asyncio.sleep(0)
        tts.ready()
        while not (await anext(news)).ready:
            pass
        assert (await anext(idle)).ready


async def test_waiting_ends_when_all_is_ready(board: Board, tts: Component) -> None:
    chat = board.add("chat")
    async with asyncio.timeout(20):
        waiting = asyncio.ensure_future(board.wait_until_ready())
        tts.ready()
        await asyncio.sleep(0)
        assert not waiting.done()
        chat.ready()
        assert (await waiting).ready


async def test_one_may_wait_for_some_components_alone(board: Board, tts: Component) -> None:
    board.add("chat")
    tts.ready()
    async with asyncio.timeout(20):
        assert await board.wait_until_ready("tts")
    assert board.is_ready("tts")
    assert not board.is_ready()
    assert not board.is_ready("tts", "chat")


async def test_waiting_for_what_does_not_exist_is_told(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(NotFound, match="no component named 'stt'"):
            await board.wait_until_ready("stt")
    with pytest.raises(NotFound):
        board.is_ready("stt")


async def test_waiting_ends_when_the_load_fails(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        waiting = asyncio.ensure_future(board.wait_until_ready())
        await asyncio.sleep(0)
        tts.fail("Out of memory", "out_of_memory")
        with pytest.raises(LoadFailed, match="TTS initialization failed: Out of memory") as failure:
            await waiting
    assert failure.value.data["errors"] == ["TTS initialization failed: Out of memory"]


async def test_waiting_goes_on_while_a_new_attempt_is_coming(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        waiting = asyncio.ensure_future(board.wait_until_ready())
        tts.begin()
        tts.postpone("in 1 s (2 of 3)", "connection reset")
        await asyncio.sleep(0)
        assert not waiting.done()
        tts.begin()
        tts.ready()
        assert (await waiting).ready


async def test_waiting_ends_when_the_process_leaves(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        waiting = asyncio.ensure_future(board.wait_until_ready())
        await asyncio.sleep(0)
        board.drain()
        with pytest.raises(Draining):
            await waiting


async def test_waiting_ends_with_its_time(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(NotReady, match=r"not ready after 0\.01 s: Starting up") as late:
            await board.wait_until_ready(timeout=0.01)
    assert late.value.data["retry_after"] == 2


def test_outside_of_a_loop_there_is_nothing_to_subscribe_to() -> None:
    with pytest.raises(RuntimeError):
        Board(ManualClock()).subscribe()


async def test_hanging_up_ends_every_subscription_and_nothing_later(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as one, board.subscribe() as other:
        await anext(one)
        waiting = [asyncio.ensure_future(anext(news, None)) for news in (one, other)]
        board.hang_up()
        assert None in await asyncio.gather(*waiting)
        assert one.closed
        assert other.closed
        later = board.subscribe()
        assert await anext(later) is not None
        assert not later.closed


async def test_hanging_up_reaches_other_loops_from_any_thread(board: Board, tts: Component) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def read() -> None:
        async with asyncio.timeout(20):
            async for _ in board.watch():
                begun.set()
        ended.set()

    reader = threading.Thread(target=asyncio.run, args=(read(),), daemon=True)
    reader.start()
    assert await asyncio.to_thread(begun.wait, 20)
    await asyncio.to_thread(board.hang_up)
    assert await asyncio.to_thread(ended.wait, 20)
    await asyncio.to_thread(reader.join, 20)


async def test_who_waits_for_readiness_is_told_that_the_server_leaves(board: Board, tts: Component) -> None:
    waiting = asyncio.ensure_future(board.wait_until_ready())
    await asyncio.sleep(0)
    board.hang_up()
    async with asyncio.timeout(20):
        with pytest.raises(Draining):
            await waiting


async def test_hanging_up_without_anybody_is_fine(board: Board) -> None:
    board.hang_up()
    board.hang_up()


async def test_a_nudge_ends_a_wait_without_news(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        assert await news.heard() is not None
        waiting = asyncio.ensure_future(news.heard())
        await asyncio.sleep(0)
        news.nudge()
        assert await waiting is None
        assert not news.closed
        tts.begin()
        later = await news.heard()
        assert later is not None
        assert later.version == board.version
        news.close()
        assert await news.heard() is None
        assert news.closed


async def test_a_nudge_is_no_news_for_those_who_iterate(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        assert (await anext(news)).find("tts") is not None
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        news.nudge()
        await asyncio.sleep(0)
        tts.begin()
        assert (await waiting).version == board.version


async def test_one_who_does_not_wait_is_not_nudged_later(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        await news.heard()
        news.nudge()
        waiting = asyncio.ensure_future(news.heard())
        await asyncio.sleep(0)
        assert not waiting.done()
        tts.begin()
        assert await waiting is not None


async def test_one_subscription_may_follow_two_boards(board: Board, tts: Component) -> None:
    other = Board(ManualClock())
    async with asyncio.timeout(20), board.subscribe() as news:
        await anext(news)
        other.join(news)
        assert (await anext(news)).components == ()
        tts.begin()
        assert [one.name for one in (await anext(news)).components] == ["tts"]


def test_the_version_is_that_of_the_picture(board: Board, tts: Component) -> None:
    for report in (tts.begin, tts.warming, tts.ready, board.drain):
        before = board.version
        report()
        assert board.version > before
        assert board.snapshot().version == board.version


async def test_a_wait_that_is_canceled_loses_nothing(board: Board, tts: Component) -> None:
    async with asyncio.timeout(20), board.subscribe() as news:
        await news.heard()
        waiting = asyncio.ensure_future(news.heard())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        tts.begin()
        assert await news.heard() is not None
