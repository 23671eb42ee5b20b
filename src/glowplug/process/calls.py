"""The calls that the model's process has now: launched, heard of, stopped in time, and ended when it dies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glowplug.clock import Clock
from glowplug.errors import Conflict, DeadlineExceeded, GlowplugError, LeaseLost, ModelCrashed
from glowplug.job import OutcomeKind
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink
from glowplug.process.death import Death
from glowplug.process.protocol import Ended, Item, Report, Run, Stop, ToChild
from glowplug.process.running import Running, StopOrder, Tools
from glowplug.process.slots import Slots

SHOWN_LINES = 30
FATAL = "Fatal Python error"


@dataclass(frozen=True, slots=True)
class Ways:
    """How the calls act on the process: `send` a message to it, `kill` it for what is wrong with a call."""

    send: Callable[[ToChild], None]
    kill: Callable[[str], None]
    went_well: Callable[[], None]
    """Called when a call ended without a crash, or came as far as a checkpoint."""


@dataclass(slots=True)
class Flight:
    """Calls that went to the process together and share one place."""

    left: set[str]


class Calls:
    """The table of running calls."""

    def __init__(self, clock: Clock, slots: Slots, scratch: Path, grace_seconds: float, ways: Ways) -> None:
        self._clock = clock
        self._slots = slots
        self._scratch = scratch
        self._grace_seconds = grace_seconds
        self._ways = ways
        self._tools = Tools(ways.send, ways.went_well, self._give_up)
        self._running: dict[str, Running] = {}
        self._flights: dict[str, Flight] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._count = 0
        self.options: Mapping[str, TaskOptions] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._running

    @property
    def count(self) -> int:
        """Return how many calls there have been."""
        return self._count

    @property
    def aloft(self) -> int:
        """Return how many calls the process works on, those among them that were given up."""
        return len(self._flights)

    async def landed(self) -> None:
        """Wait until the process works on none."""
        while self._flights:
            self._changed.clear()
            await self._changed.wait()

    @property
    def only(self) -> Running | None:
        """Return the call that runs alone, if one does."""
        return next(iter(self._running.values())) if len(self._running) == 1 else None

    def launch(self, calls: Sequence[Call], sinks: Sequence[CallSink | None]) -> list[Running]:
        """Send calls to the process on a place that was taken for them.

        Raises:
            Conflict: a call of that id is running.
        """
        if taken := [call.id for call in calls if call.id in self._flights]:
            self._slots.leave(ended_well=0)
            raise Conflict(f"a call {taken[0]!r} is running already")
        now, flight = self._clock.monotonic(), Flight({call.id for call in calls})
        items, launched = [], []
        for call, sink in zip(calls, sinks, strict=True):
            self._count += 1
            folder = call.scratch or self._scratch / str(self._count)
            items.append(_item(call, folder))
            running = Running(call, sink, None if call.scratch else folder, now, self._tools)
            self._running[call.id] = running
            self._flights[call.id] = flight
            launched.append(running)
        self._ways.send(Run(calls[0].task, items))
        return launched

    def hear(self, message: Report | Ended) -> None:
        """Take what the process says of a call; a call that was given up is none of ours any more."""
        running = self._running.get(message.id)
        if isinstance(message, Ended):
            self._ended(message)
        elif running is not None:
            running.active = self._clock.monotonic()
            running.report(message)
            self._keep(running)

    def print(self, lines: list[str]) -> bool:
        """Take lines of output; False if there is no one call they could belong to."""
        running = self.only
        if running is None:
            return False
        running.active = self._clock.monotonic()
        running.print(lines)
        return True

    def stop(self, call_id: str, kind: OutcomeKind, error: GlowplugError | None = None) -> None:
        """Ask a call to stop; if it does not within the grace, it is made to. Asking again changes nothing."""
        running = self._running.get(call_id)
        if running is None or running.stop is not None:
            return
        running.stop = StopOrder(kind, self._clock.monotonic(), error)
        self._ways.send(Stop(call_id, kind is OutcomeKind.INTERRUPTED))

    def stop_all(self, kind: OutcomeKind) -> None:
        """Ask every call to stop."""
        for call_id in list(self._running):
            self.stop(call_id, kind)

    def alive(self) -> None:
        """Note that the process does something, whichever call that is for."""
        now = self._clock.monotonic()
        for running in self._running.values():
            running.active = now

    def tick(self) -> None:
        """Look at what time has done: lines to pass on, calls past their limits, orders that were not obeyed."""
        now = self._clock.monotonic()
        for running in list(self._running.values()):
            running.flush_lines()
            self._keep(running)
            if running.stop is None:
                self._stop_late(running, now)
            elif now - running.stop.since >= self._grace_seconds:
                self._force(running, running.stop)

    def died(self, death: Death, model: str, last_lines: Sequence[str]) -> None:
        """End all calls, the process being dead: one alone has crashed it, of several nobody can say which."""
        dead = list(self._running.values())
        blamed = [running for running in dead if running.stop is None]
        alone = len(dead) == 1 and not death.blameless
        for running in dead:
            end = CallEnd(OutcomeKind.DISPLACED)
            if running.stop is not None:
                end = running.stop.end
            elif alone:
                end = CallEnd(OutcomeKind.CRASHED, error=_crashed(running.call, death, model, last_lines))
            running.end(end, scratch_used=True)
            self._keep(running)
        self._running.clear()
        self._flights.clear()
        self._changed.set()
        if blamed and not alone and not death.blameless:
            self._slots.try_out(len(blamed))

    async def emptied(self) -> None:
        """Wait until no call runs and every report has been dealt with."""
        while self._running or self._pumps:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Cancel what still brings reports to sinks; to be called when no call runs."""
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _ended(self, message: Ended) -> None:
        # A call that was given up is not running any more, but its place is free only now.
        flight, running = self._flights.pop(message.id, None), self._running.pop(message.id, None)
        if flight is None:
            return
        flight.left.discard(message.id)
        self._ways.went_well()
        if not flight.left:
            self._slots.leave()
        if running is not None:
            error = message.error.error() if message.error else None
            end = CallEnd(message.kind, message.output_json, tuple(message.artifacts), error)
            running.end(end, scratch_used=message.scratch_used)
            self._keep(running)
        self._changed.set()

    def _keep(self, running: Running) -> None:
        if running.pump is not None and running.pump not in self._pumps:
            self._pumps.add(running.pump)
            running.pump.add_done_callback(self._forget)

    def _forget(self, pump: asyncio.Task[None]) -> None:
        self._pumps.discard(pump)
        self._changed.set()

    def _stop_late(self, running: Running, now: float) -> None:
        call, options = running.call, self.options.get(running.call.task, TaskOptions())
        limit = call.timeout_seconds if call.timeout_seconds is not None else options.timeout_seconds
        if limit is not None and now - running.began >= limit:
            error = DeadlineExceeded(f"{call.task} took longer than {limit:g} s", limit_seconds=limit)
            self.stop(call.id, OutcomeKind.FAILED, error)
        elif options.stall_seconds is not None and now - running.active >= options.stall_seconds:
            error = DeadlineExceeded(f"{call.task} showed no sign of life for {options.stall_seconds:g} s")
            self.stop(call.id, OutcomeKind.FAILED, error)

    def _force(self, running: Running, order: StopOrder) -> None:
        mates = [self._running.get(call_id) for call_id in self._flights[running.call.id].left]
        if all(mate is None or mate.stop is not None for mate in mates):
            self._ways.kill(f"{running.call.task} did not stop within {self._grace_seconds:g} s")
            return
        # The others of its batch are innocent: it alone is given up, and its result thrown away when it comes.
        del self._running[running.call.id]
        running.end(order.end, scratch_used=True)
        self._keep(running)

    def _give_up(self, call_id: str, error: GlowplugError) -> None:
        kind = OutcomeKind.CANCELED if isinstance(error, LeaseLost) else OutcomeKind.FAILED
        self.stop(call_id, kind, error)


def _item(call: Call, folder: Path) -> Item:
    return Item(call.id, call.input_json, str(folder), call.prefix, dict(call.files), call.resumed)


def _crashed(call: Call, death: Death, model: str, last_lines: Sequence[str]) -> ModelCrashed:
    shown = list(last_lines)[-SHOWN_LINES:]
    # The interpreter's own account of the crash is long; what the model said before it is closer to the reason.
    own = list(itertools.takewhile(lambda line: not line.startswith(FATAL), shown)) or shown[:1]
    ends = f"; last it said: {own[-1]}" if own else ""
    return ModelCrashed(f"{model}: {death.why} while it ran {call.task}{ends}", exit=death.exit, output=shown)
