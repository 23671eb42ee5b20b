"""The feed: tells whoever watches a job that something was written, without ever waiting for a slow one.

Watchers hold no queue of their own. They read the job's log by `seq`: the newest part from a ring that all watchers
of a job share, the rest from the store. A slow client therefore costs nothing but its connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from glowplug.clock import Clock
from glowplug.gateway.waits import first_of, woken
from glowplug.job import TERMINAL_TYPES, Job, JobEvent
from glowplug.store import Store

RING_EVENTS = 256
READ_EVENTS = 200


class Channel:
    """What the watchers of one job share: the newest events, and the bell that rings at the next change."""

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self._job_id = job_id
        self._ring: deque[JobEvent] = deque(maxlen=RING_EVENTS)
        self._reading = asyncio.Lock()
        self._stale = True
        self.watchers = 0
        self.bell = asyncio.Event()
        self._ended: asyncio.Future[Job | None] | None = None

    def ring(self) -> None:
        """Wake every watcher: the log has grown, or the gateway is closing."""
        self._stale = True
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()

    def look_again(self) -> None:
        """Let the next reader ask the store, whether or not somebody rang."""
        self._stale = True

    def end(self) -> asyncio.Future[Job | None]:
        """Return the future that the job's next end resolves, or None where somebody else may have ended it."""
        if self._ended is None or self._ended.done():
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def resolve(self, job: Job | None) -> None:
        """Hand the ended job to those who wait for it; with None, let them look."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(job)

    async def read(self, after: int) -> list[JobEvent]:
        """Return some of the events after `after`, in order; an empty list is the end for now."""
        async with self._reading:
            if not self._covers(after):
                return await self._catch_up(after)
            if self._stale:
                await self._refresh()
        return [event for event in self._ring if event.seq > after]

    def _covers(self, after: int) -> bool:
        return bool(self._ring) and self._ring[0].seq <= after + 1

    async def _catch_up(self, after: int) -> list[JobEvent]:
        events = await self._store.events(self._job_id, after=after, limit=READ_EVENTS)
        # What was read here serves the next watcher, if it joins up with what the ring holds.
        if not self._ring or (events and events[-1].seq >= self._ring[0].seq - 1):
            self._ring.clear()
            self._ring.extend(events)
            self._stale = True
        return events

    async def _refresh(self) -> None:
        # Before the read, not after: what is written during it makes the ring stale again.
        self._stale = False
        try:
            new = await self._store.events(self._job_id, after=self._ring[-1].seq, limit=READ_EVENTS)
        except BaseException:
            self._stale = True
            raise
        self._ring.extend(new)
        self._stale = self._stale or len(new) == READ_EVENTS


class Feed:
    """Fan-out of job changes inside this process.

    `heartbeat_seconds` is also how often a watcher looks by itself, for changes that another gateway wrote.
    """

    def __init__(self, store: Store, clock: Clock, *, heartbeat_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._channels: dict[str, Channel] = {}
        self._closing = asyncio.Event()

    def changed(self, job_id: str) -> None:
        """Say that events of the job were written."""
        channel = self._channels.get(job_id)
        if channel is not None:
            channel.ring()

    def settled(self, job: Job) -> None:
        """Say that the job was written, and how it stands now."""
        channel = self._channels.get(job.id)
        if channel is None:
            return
        if job.done:
            channel.resolve(job)
        channel.ring()

    def heard(self, job_id: str) -> None:
        """Say that another gateway wrote the job; it may have ended."""
        channel = self._channels.get(job_id)
        if channel is not None:
            channel.resolve(None)
            channel.ring()

    def open(self) -> None:
        """Let streams run."""
        self._closing.clear()

    def close(self) -> None:
        """End every stream; those that begin later end after what is there."""
        self._closing.set()
        for channel in self._channels.values():
            channel.ring()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Channel]:
        """Lend the job's channel."""
        channel = self._channels.setdefault(job_id, Channel(self._store, job_id))
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if channel.watchers == 0:
                del self._channels[job_id]

    async def events(self, job_id: str, *, after: int) -> AsyncGenerator[JobEvent | None, None]:
        """Yield the job's events after `after` as they are written, up to the terminal one.

        None stands for a heartbeat.
        """
        with self.watch(job_id) as channel:
            while True:
                bell = channel.bell
                events = await channel.read(after)
                for event in events:
                    after = event.seq
                    yield event
                if await self._ended(channel, events):
                    return
                if not events and not await woken(bell, self._clock, self._heartbeat_seconds):
                    channel.look_again()
                    yield None

    async def _ended(self, channel: Channel, events: list[JobEvent]) -> bool:
        if not events:
            return self._closing.is_set()
        # A terminal event with others behind it belongs to a run that was followed by a retry.
        last = events[-1]
        return last.type in TERMINAL_TYPES and not await channel.read(last.seq)

    async def done(self, job_id: str, *, timeout_seconds: float) -> Job:
        """Return the job once it is done, or as it stands after `timeout_seconds`. Raises `NotFound`."""
        deadline = self._clock.monotonic() + timeout_seconds
        with self.watch(job_id) as channel:
            while True:
                ended = channel.end()
                job = await self._store.job(job_id)
                left = deadline - self._clock.monotonic()
                if job.done or left <= 0 or self._closing.is_set():
                    return job
                pause = self._clock.sleep(min(left, self._heartbeat_seconds))
                await first_of(_settled(ended), self._closing.wait(), pause)
                if ended.done() and (found := ended.result()) is not None:
                    return found


async def _settled(ended: asyncio.Future[Job | None]) -> None:
    await asyncio.wait((ended,))
