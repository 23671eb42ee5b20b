"""The parent's side of one model, as others see it: calls go in, ends come out, readiness shows in the component."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from glowplug.clock import Clock
from glowplug.errors import Conflict, GlowplugError, NotReady, UnknownTask
from glowplug.job import OutcomeKind
from glowplug.lifecycle import Startable
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink
from glowplug.process.calls import Calls, Ways
from glowplug.process.entrance import Entrance
from glowplug.process.keeper import Keeper, WeightsFetcher
from glowplug.process.protocol import ToChild
from glowplug.process.running import Running
from glowplug.process.slots import Slots
from glowplug.process.spec import HostSpec
from glowplug.readiness.component import Component
from glowplug.readiness.state import Status
from glowplug.store import ModelInfo

__all__ = ["Call", "CallEnd", "CallSink", "Host", "HostSpec", "WeightsFetcher"]


class Host(Startable):
    """One model in a process of its own. `start` only begins; how the load goes is told by the component.

    `on_info` is called when the model has been imported, before it loads, and again after each reload.
    """

    def __init__(
        self, spec: HostSpec, component: Component, *, clock: Clock, weights: WeightsFetcher | None = None
    ) -> None:
        self.spec = spec
        self.component = component
        self._scratch = spec.scratch / f"{component.name}-{os.getpid()}-{id(self):x}"
        self._places = Slots()
        self._entrance = Entrance(self._places)
        ways = Ways(self._send, self._kill, self._went_well)
        self._calls = Calls(clock, self._places, self._scratch, spec.cancel_grace_seconds, ways)
        self._keeper = Keeper(spec, component, clock=clock, weights=weights, calls=self._calls, places=self._places)

    @property
    def info(self) -> ModelInfo | None:
        """Return what the import told about the model, None before."""
        return self._keeper.info

    @property
    def on_info(self) -> Callable[[ModelInfo], None]:
        """Return who is told when the model has been imported."""
        return self._keeper.on_info

    @on_info.setter
    def on_info(self, listener: Callable[[ModelInfo], None]) -> None:
        """Tell `listener` from now on."""
        self._keeper.on_info = listener

    @property
    def options(self) -> Mapping[str, TaskOptions]:
        """Return the options of the tasks by full name; none before the import."""
        return self._calls.options

    @property
    def slots(self) -> int:
        """Return how many calls the model runs at once, whether or not it is ready."""
        return self._keeper.slots

    @property
    def free_slots(self) -> int:
        """Return how many calls could begin at once; none while the model is not ready."""
        return self._places.free if self.component.status.can_serve else 0

    async def run(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        """Run a call, waiting for a slot; a model that is not ready answers with `NotReady` in the end.

        If the waiting task is cancelled, the call is stopped.
        """
        ends = await self._admitted((call,))
        return ends.get(call.id) or (await self._outcomes(self._calls.launch((call,), (sink,))))[0]

    async def run_batch(self, calls: Sequence[Call], sinks: Sequence[CallSink | None]) -> list[CallEnd]:
        """Run calls of one task together on one slot; while a crash is being cleared up, one after the other."""
        if self._places.is_trying_out or len(calls) == 1:
            return [await self.run(call, sink) for call, sink in zip(calls, sinks, strict=True)]
        ends = await self._admitted(calls)
        entering = [(call, sink) for call, sink in zip(calls, sinks, strict=True) if call.id not in ends]
        if entering:
            running = self._calls.launch(*zip(*entering, strict=True))
            ends |= zip((one.call.id for one in running), await self._outcomes(running), strict=True)
        return [ends[call.id] for call in calls]

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        """End a call as `kind` (CANCELED or INTERRUPTED): its next `check` raises, and after the grace it is killed."""
        self._entrance.stop(call_id, kind)
        self._calls.stop(call_id, kind)

    async def reload(self) -> None:
        """Load what sleeps, or again after an error. Raises `Conflict` when there is nothing to load or retry."""
        if not self.started or self.component.status not in (Status.ERROR, Status.SLEEPING):
            raise Conflict(f"{self.component.name} is {self.component.status}: there is nothing to retry")
        self._keeper.try_again()

    async def wait_given_up(self) -> None:
        """Wait until the model has failed and nobody tries again unless `reload` is called."""
        await self._keeper.given_up.wait()

    async def warm_up(self) -> float:
        """Warm up again between calls, without leaving READY; return the seconds that it took.

        Raises:
            NotReady: the model does not serve.
        """
        seconds = await self._keeper.warm_up()
        self.component.rewarmed(seconds)
        return seconds

    async def _start(self) -> None:
        await self._keeper.start()

    async def _stop(self) -> None:
        self._calls.stop_all(OutcomeKind.INTERRUPTED)
        await self._within_grace(self._calls.emptied())
        await self._keeper.stop()
        await self._within_grace(self._calls.emptied())
        await self._calls.close()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    async def _within_grace(self, waiting: Coroutine[Any, Any, None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.cancel_grace_seconds):
                await waiting

    async def _admitted(self, calls: Sequence[Call]) -> dict[str, CallEnd]:
        """Take a place for calls of one task; return the ends of those that will not be run."""
        if (refusal := self._refusal(calls[0])) is not None:
            return _refused(calls, refusal)
        ends = await self._entrance.pass_through(calls)
        # The process may have died between the moment in which the place was given and this one.
        if len(ends) < len(calls) and (refusal := self._refusal(calls[0])) is not None:
            self._places.leave(ended_well=0)
            return _refused(calls, refusal) | ends
        return ends

    def _refusal(self, call: Call) -> NotReady | UnknownTask | None:
        if not self._keeper.serving or not self.component.status.can_serve:
            return self._keeper.not_ready()
        if call.task not in self.options:
            return UnknownTask(f"{self.component.name} has no task {call.task!r}; it has {', '.join(self.options)}")
        return None

    async def _outcomes(self, running: Sequence[Running]) -> list[CallEnd]:
        try:
            return [await one.done for one in running]
        except asyncio.CancelledError:
            for one in running:
                self.stop_call(one.call.id, OutcomeKind.CANCELED)
            raise

    def _send(self, message: ToChild) -> None:
        self._keeper.send(message)

    def _kill(self, reason: str) -> None:
        self._keeper.kill(reason)

    def _went_well(self) -> None:
        self._keeper.went_well()


def _refused(calls: Sequence[Call], why: GlowplugError) -> dict[str, CallEnd]:
    return {call.id: CallEnd(OutcomeKind.FAILED, error=why) for call in calls}
