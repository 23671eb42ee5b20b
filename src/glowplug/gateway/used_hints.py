"""What becomes of hints once a worker has looked at them.

One is acknowledged when its job has been claimed or cannot be: it runs, it has ended, it is for later or past its time.
A job that still waits keeps its hint: given back, or sent to the end of the line where no worker here has its task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress

from glowplug.broker import Arrival, Broker
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, NotFound
from glowplug.gateway.waits import woken
from glowplug.job import JobState
from glowplug.lifecycle import Startable
from glowplug.store import Store

# A hint that is given back at once would come straight back to us.
PAUSE_SECONDS = 0.1


class UsedHints(Startable):
    """Acknowledges and gives back, beside the answer to the worker: what counts is durable in the rows by then."""

    def __init__(self, store: Store, broker: Broker, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._spent: deque[Arrival] = deque()
        self._acknowledging: asyncio.Task[None] | None = None
        self._sorting: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def _start(self) -> None:
        self._closing.clear()

    async def _stop(self) -> None:
        self._closing.set()
        while under_way := [*self._sorting, *([self._acknowledging] if self._acknowledging else [])]:
            await asyncio.wait(under_way)

    def sort(self, arrivals: Sequence[Arrival], claimed: Collection[str], offered: Collection[str]) -> None:
        """Take in hints of which jobs were `claimed`, for a worker that had offered to take tasks of `offered`."""
        rest = [arrival for arrival in arrivals if arrival.hint.job_id not in claimed]
        self._forget([arrival for arrival in arrivals if arrival.hint.job_id in claimed])
        if rest:
            task = asyncio.create_task(self._sort_unclaimed(rest, offered), name="unclaimed hints")
            self._sorting.add(task)
            task.add_done_callback(self._sorting.discard)

    async def _sort_unclaimed(self, arrivals: Sequence[Arrival], offered: Collection[str]) -> None:
        waiting = [arrival for arrival in arrivals if await self._still_waits(arrival)]
        self._forget([arrival for arrival in arrivals if arrival not in waiting])
        if not waiting:
            return
        await woken(self._closing, self._clock, PAUSE_SECONDS)
        back = [arrival for arrival in waiting if arrival.hint.task in offered]
        behind = [arrival for arrival in waiting if arrival.hint.task not in offered]
        with suppress(GlowplugError):
            await self._broker.release(back)
            await self._send_behind(behind)

    async def _send_behind(self, arrivals: Sequence[Arrival]) -> None:
        if not arrivals:
            return
        try:
            # Given back, they would stand at the head again, and in the way of hints that somebody here can use.
            await self._broker.publish([arrival.hint for arrival in arrivals])
        except GlowplugError:
            # Kept, they would take up slots for as long as the connection lasts.
            await self._broker.release(arrivals)
        else:
            self._forget(arrivals)

    async def _still_waits(self, arrival: Arrival) -> bool:
        """Say whether the job could be claimed at this moment. One for later or past its time has no place in line."""
        try:
            job = await self._store.job(arrival.hint.job_id)
        except NotFound:
            return False
        except GlowplugError:
            return True
        expired = job.expires_at is not None and job.expires_at <= self._clock.now()
        return job.state is JobState.QUEUED and job.turn is not None and not expired

    def _forget(self, arrivals: Sequence[Arrival]) -> None:
        self._spent.extend(arrivals)
        if self._spent and self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._acknowledge(), name="acknowledge")

    async def _acknowledge(self) -> None:
        try:
            while self._spent:
                spent = list(self._spent)
                self._spent.clear()
                # A hint that is not forgotten comes again, and finds its job taken.
                with suppress(GlowplugError):
                    await self._broker.acknowledge(spent)
        finally:
            self._acknowledging = None
