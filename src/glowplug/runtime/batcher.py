"""Dynamic batching: calls of one task that come close together go to the model together.

A call that finds the model idle and no company goes at once: batching costs a lone caller nothing. While a batch runs,
the next one gathers, and goes when the first is back. Only when there has been company lately, and a slot is free,
does a batch that is not full wait, and never longer than `wait_seconds` after its first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from glowplug.clock import Clock
from glowplug.errors import Draining, GlowplugError
from glowplug.job import OutcomeKind
from glowplug.lifecycle import Startable, cancel, stop_all
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink

LEAST_WAIT_SECONDS = 0.0001
"""What the rounding of a clock may leave of a wait is not waited for again and again."""


class Runner(Protocol):
    """What a batcher needs of a host."""

    @property
    def free_slots(self) -> int:
        """Return how many batches could begin now."""

    @property
    def options(self) -> Mapping[str, TaskOptions]:
        """Return the options of the tasks by full name."""

    async def run(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        """Run one call."""

    async def run_batch(self, calls: Sequence[Call], sinks: Sequence[CallSink | None]) -> list[CallEnd]:
        """Run calls together."""

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        """Stop a call."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A call that waits for its batch to go, and whoever waits for its end."""

    call: Call
    sink: CallSink | None
    end: asyncio.Future[CallEnd]
    since: float


class Batcher(Startable):
    """The batches of one task: at most `max_size` calls each."""

    def __init__(self, host: Runner, task: str, max_size: int, wait_seconds: float, clock: Clock) -> None:
        self._host = host
        self._task = task
        self._max_size = max_size
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._gathered: list[Gathered] = []
        self._flights: set[asyncio.Task[None]] = set()
        # Batches whose flight is a task that has not begun: the host does not know of their calls yet.
        self._leaving: list[list[Gathered]] = []
        self._looking: asyncio.Handle | None = None
        self._timer: asyncio.Task[None] | None = None
        self._had_company = False

    async def submit(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        """Run a call in some batch. If the waiting task is cancelled, the call is stopped."""
        loop = asyncio.get_running_loop()
        mine = Gathered(call, sink, loop.create_future(), self._clock.monotonic())
        self._gathered.append(mine)
        if self._looking is None:
            # At the end of this turn of the loop: what arrives in one turn goes together.
            self._looking = loop.call_soon(self._look)
        try:
            return await mine.end
        except asyncio.CancelledError:
            self.stop_call(call.id, OutcomeKind.CANCELED)
            raise

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        """End a call as `kind`, whether it still gathers or runs already."""
        if not self.stop_gathered(call_id, kind):
            self._host.stop_call(call_id, kind)

    def stop_gathered(self, call_id: str, kind: OutcomeKind) -> bool:
        """End a call as `kind` if its batch has not gone yet; say whether that was so."""
        for group in (self._gathered, *self._leaving):
            waiting = next((waiting for waiting in group if waiting.call.id == call_id), None)
            if waiting is not None:
                group.remove(waiting)
                _tell(waiting, CallEnd(kind))
                return True
        return False

    async def _stop(self) -> None:
        await cancel(self._timer)
        left, self._gathered = self._gathered, []
        for waiting in left:
            _tell(waiting, CallEnd(OutcomeKind.FAILED, error=Draining(f"{self._task} takes nothing new")))
        if self._flights:
            await asyncio.wait(self._flights)

    def _look(self) -> None:
        """Let batches go that have reason and room to, and see to it that somebody looks at the rest in time."""
        self._looking = None
        is_due = True
        # Asked once for each look: time passes between two questions, and both answers would leave it to the other.
        while self._gathered and (is_due := self._is_due()) and self._has_room():
            self._let_go()
        if self._gathered and self._timer is None and not is_due:
            # Reckoned here: when the task begins, on a busy machine, those it was made for may be gone.
            later = self._look_later(max(self._wait_seconds - self._waited_seconds(), LEAST_WAIT_SECONDS))
            self._timer = asyncio.create_task(later, name=f"batch of {self._task}")

    def _is_due(self) -> bool:
        full = len(self._gathered) >= self._max_size
        return full or not self._had_company or self._waited_seconds() >= self._wait_seconds

    def _waited_seconds(self) -> float:
        return self._clock.monotonic() - self._gathered[0].since

    def _has_room(self) -> bool:
        # With none of ours under way nobody would call us when a slot is free, so we queue for one.
        return self._host.free_slots > len(self._leaving) or not self._flights

    def _let_go(self) -> None:
        batch, self._gathered = self._gathered[: self._max_size], self._gathered[self._max_size :]
        self._had_company = len(batch) > 1
        self._leaving.append(batch)
        flight = asyncio.create_task(self._fly(batch), name=f"{len(batch)} calls of {self._task}")
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    async def _fly(self, batch: list[Gathered]) -> None:
        self._leaving = [other for other in self._leaving if other is not batch]
        if not batch:
            return
        try:
            ends = await self._host.run_batch([one.call for one in batch], [one.sink for one in batch])
        except GlowplugError as error:
            ends = [CallEnd(OutcomeKind.FAILED, error=error) for _ in batch]
        for one, end in zip(batch, ends, strict=True):
            _tell(one, end)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._look()

    async def _look_later(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        self._look()


class Batchers(Startable):
    """The `run` and `stop_call` of a host, with a batcher for each task that wants one."""

    def __init__(self, host: Runner, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._batchers: dict[str, Batcher] = {}

    async def run(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        """Run a call, in a batch if its task has any."""
        options = self._host.options.get(call.task)
        if options is None or options.batch <= 1:
            return await self._host.run(call, sink)
        batcher = self._batchers.get(call.task)
        if batcher is None:
            batcher = Batcher(self._host, call.task, options.batch, options.batch_wait_seconds, self._clock)
            self._batchers[call.task] = batcher
            await batcher.start()
        return await batcher.submit(call, sink)

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        """End a call as `kind`."""
        if not any(batcher.stop_gathered(call_id, kind) for batcher in self._batchers.values()):
            self._host.stop_call(call_id, kind)

    async def _stop(self) -> None:
        await stop_all(self._batchers.values())


def _tell(waiting: Gathered, end: CallEnd) -> None:
    if not waiting.end.done():
        waiting.end.set_result(end)
