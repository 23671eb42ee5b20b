"""The feed: everybody hears everything once, in order, and nobody waits for a slow one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from tests.unit.gateway.house import settle

from glowplug.clock import ManualClock
from glowplug.errors import NotFound
from glowplug.gateway import feed as feed_module
from glowplug.gateway.feed import Feed
from glowplug.job import JobEvent, JobRequest, Note, Outcome, OutcomeKind
from glowplug.store import Hold, Report, Settlement, Want
from glowplug.stores.memory import MemoryStore

HEARTBEAT = 15.0
LEASE = timedelta(seconds=60)


class CountingStore(MemoryStore):
    """Counts how often events were read."""

    reads = 0

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        self.reads += 1
        return await super().events(job_id, after=after, limit=limit)


class Desk:
    """A store with one running job, and a feed that is told of every write."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = CountingStore(clock=self.clock)
        self.feed = Feed(self.store, self.clock, heartbeat_seconds=HEARTBEAT)
        self.job_id = ""
        self.hold = Hold("", 0)

    async def begin(self) -> Desk:
        self.job_id = (await self.store.submit([JobRequest(task="a.b", input={})]))[0].job.id
        await self.store.claim("w", [Want(("a.b",), 1)], LEASE)
        self.hold = Hold(self.job_id, 1)
        return self

    async def say(self, *texts: str, quietly: bool = False) -> None:
        notes = tuple(Note("log", {"text": text}) for text in texts)
        assert await self.store.note([Report(self.hold, notes)]) == [True]
        if not quietly:
            self.feed.changed(self.job_id)

    async def end(self, kind: OutcomeKind = OutcomeKind.COMPLETED) -> None:
        settled = await self.store.settle([Settlement(self.hold, Outcome(kind))])
        assert settled[0].job is not None
        self.feed.settled(settled[0].job)


@pytest.fixture
async def desk() -> Desk:
    return await Desk().begin()


async def types(events: AsyncIterator[JobEvent | None]) -> list[str]:
    return [event.type if event else "heartbeat" async for event in events]


def seqs(events: Sequence[JobEvent | None]) -> list[int]:
    return [event.seq for event in events if event]


async def test_a_stream_tells_what_was_and_what_comes_and_ends(desk: Desk) -> None:
    async with asyncio.timeout(20):
        reading = asyncio.create_task(types(desk.feed.events(desk.job_id, after=0)))
        await settle()
        await desk.say("one")
        await settle()
        await desk.end()
        assert await reading == ["queued", "started", "log", "completed"]


async def test_a_stream_begins_after_the_seq_that_was_asked_for(desk: Desk) -> None:
    await desk.end()
    async with asyncio.timeout(20):
        assert await types(desk.feed.events(desk.job_id, after=2)) == ["completed"]


async def test_a_stream_without_news_gives_a_heartbeat_now_and_then(desk: Desk) -> None:
    async with asyncio.timeout(20):
        stream = desk.feed.events(desk.job_id, after=2)
        first = asyncio.ensure_future(anext(stream))
        await settle()
        await desk.clock.advance(HEARTBEAT - 1)
        assert not first.done()
        await desk.clock.advance(1)
        assert await first is None
        await stream.aclose()


async def test_what_nobody_told_of_is_found_at_the_next_heartbeat(desk: Desk) -> None:
    async with asyncio.timeout(20):
        stream = desk.feed.events(desk.job_id, after=2)
        first = asyncio.ensure_future(anext(stream))
        await settle()
        await desk.say("by another gateway", quietly=True)
        await desk.clock.advance(HEARTBEAT)
        assert await first is None
        told = await anext(stream)
        assert told is not None
        assert told.data == {"text": "by another gateway"}
        await stream.aclose()


async def test_many_watchers_share_one_read_of_the_store(desk: Desk) -> None:
    async with asyncio.timeout(20):
        watchers = [asyncio.create_task(types(desk.feed.events(desk.job_id, after=0))) for _ in range(50)]
        await settle()
        desk.store.reads = 0
        await desk.say("one")
        await settle()
        assert desk.store.reads <= 2
        await desk.end()
        assert await asyncio.gather(*watchers) == [["queued", "started", "log", "completed"]] * 50


async def test_a_watcher_that_stands_still_misses_nothing_and_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "RING_EVENTS", 4)
    async with asyncio.timeout(20):
        slow = desk.feed.events(desk.job_id, after=0)
        seen = [await anext(slow)]
        quick = asyncio.create_task(types(desk.feed.events(desk.job_id, after=0)))
        for number in range(40):
            await desk.say(str(number))
            await settle()
        await desk.end()
        assert len(await quick) == 43
        seen += [event async for event in slow]
    assert seqs(seen) == list(range(1, 44))


async def test_more_events_than_one_read_takes_arrive_in_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "READ_EVENTS", 5)
    async with asyncio.timeout(20):
        stream = desk.feed.events(desk.job_id, after=0)
        first = await anext(stream)
        await desk.say(*[str(number) for number in range(23)])
        await desk.end()
        rest = [event async for event in stream]
    assert seqs([first, *rest]) == list(range(1, 27))


async def test_the_end_of_a_run_that_was_followed_by_a_retry_does_not_end_the_stream(desk: Desk) -> None:
    await desk.end(OutcomeKind.CANCELED)
    desk.feed.settled(await desk.store.retry(desk.job_id))
    async with asyncio.timeout(20):
        stream = desk.feed.events(desk.job_id, after=0)
        told = [await anext(stream) for _ in range(4)]
        assert [event.type for event in told if event] == ["queued", "started", "canceled", "requeued"]
        nothing_more = asyncio.ensure_future(anext(stream))
        await settle()
        assert not nothing_more.done()
        nothing_more.cancel()


async def test_closing_ends_every_stream_after_what_is_there(desk: Desk) -> None:
    async with asyncio.timeout(20):
        watchers = [asyncio.create_task(types(desk.feed.events(desk.job_id, after=0))) for _ in range(3)]
        await settle()
        desk.feed.close()
        assert await asyncio.gather(*watchers) == [["queued", "started"]] * 3
        assert await types(desk.feed.events(desk.job_id, after=1)) == ["started"]


async def test_nothing_is_kept_of_a_job_that_nobody_watches(desk: Desk) -> None:
    stream = desk.feed.events(desk.job_id, after=0)
    await anext(stream)
    await stream.aclose()
    assert desk.feed._channels == {}


class TestDone:
    async def test_it_returns_the_job_as_soon_as_it_has_ended(self, desk: Desk) -> None:
        async with asyncio.timeout(20):
            waiting = asyncio.create_task(desk.feed.done(desk.job_id, timeout_seconds=60))
            await settle()
            await desk.say("not yet")
            await settle()
            assert not waiting.done()
            await desk.end()
            assert (await waiting).state == "completed"

    async def test_it_returns_a_job_that_has_ended_before_at_once(self, desk: Desk) -> None:
        await desk.end()
        async with asyncio.timeout(20):
            assert (await desk.feed.done(desk.job_id, timeout_seconds=60)).done

    async def test_it_returns_the_job_as_it_stands_when_the_time_is_up(self, desk: Desk) -> None:
        waiting = asyncio.create_task(desk.feed.done(desk.job_id, timeout_seconds=40))
        await settle()
        await desk.clock.advance(41)
        async with asyncio.timeout(20):
            assert (await waiting).state == "running"

    async def test_an_end_that_nobody_told_of_is_found_at_the_next_heartbeat(self, desk: Desk) -> None:
        waiting = asyncio.create_task(desk.feed.done(desk.job_id, timeout_seconds=60))
        await settle()
        await desk.store.settle([Settlement(desk.hold, Outcome(OutcomeKind.COMPLETED))])
        await desk.clock.advance(HEARTBEAT)
        async with asyncio.timeout(20):
            assert (await waiting).done

    async def test_closing_lets_everybody_go(self, desk: Desk) -> None:
        waiting = asyncio.create_task(desk.feed.done(desk.job_id, timeout_seconds=60))
        await settle()
        desk.feed.close()
        async with asyncio.timeout(20):
            assert not (await waiting).done

    async def test_a_job_that_does_not_exist_is_not_found(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            await desk.feed.done("nope", timeout_seconds=1)

    async def test_a_retry_is_waited_for_afresh(self, desk: Desk) -> None:
        await desk.end(OutcomeKind.CANCELED)
        async with asyncio.timeout(20):
            with desk.feed.watch(desk.job_id):
                await desk.feed.done(desk.job_id, timeout_seconds=60)
                desk.feed.settled(await desk.store.retry(desk.job_id))
                waiting = asyncio.create_task(desk.feed.done(desk.job_id, timeout_seconds=60))
                await settle()
                assert not waiting.done()
                desk.feed.settled(await desk.store.cancel(desk.job_id))
                assert (await waiting).state == "canceled"
