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
from glowplug.lifecycle import Startable, cancel
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink


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
        self._timer: asyncio.Task[None] | None = None
        self._had_company = False

    async def submit(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        """Run a call in some batch. If the waiting task is cancelled, the call is stopped."""
        mine = Gathered(call, sink, asyncio.get_running_loop().create_future())
        self._gathered.append(mine)
        self._consider()
        try:
            return await mine.end
        except asyncio.CancelledError:
            self.stop_call(call.id, OutcomeKind.CANCELED)
            raise

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        """End a call as `kind`, whether it still gathers or runs already."""
        for waiting in self._gathered:
            if waiting.call.id == call_id:
                self._gathered.remove(waiting)
                _tell(waiting, CallEnd(kind))
                return
        self._host.stop_call(call_id, kind)

    async def _stop(self) -> None:
        await cancel(self._timer)
        left, self._gathered = self._gathered, []
        for waiting in left:
            _tell(waiting, CallEnd(OutcomeKind.FAILED, error=Draining(f"{self._task} takes nothing new")))
        if self._flights:
            await asyncio.wait(self._flights)

    def _consider(self) -> None:
        """Let a batch go if there is reason to, else see to it that somebody looks again."""
        while self._gathered and self._host.free_slots > len(self._flights_to_begin()):
            if len(self._gathered) < self._max_size and self._expects_company():
                break
            self._let_go()
        if self._gathered and self._timer is None:
            self._timer = asyncio.create_task(self._time_out(), name=f"batch of {self._task}")
