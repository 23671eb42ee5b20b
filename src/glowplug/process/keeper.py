"""Keeps the process of one model: starts it, brings it up, watches it, and starts it again when it has died."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from glowplug.clock import Clock
from glowplug.errors import Draining, LoadFailed, NotReady, SettingsError
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel
from glowplug.process.calls import Calls
from glowplug.process.death import Death, Restarts, Verdict
from glowplug.process.faults import load_class, load_message
from glowplug.process.life import Life
from glowplug.process.lodging import Lodger, Lodging
from glowplug.process.output import Output, Redactor, redacted
from glowplug.process.protocol import (
    Begin,
    Broken,
    Check,
    Checked,
    Described,
    Ended,
    Holding,
    Load,
    Moved,
    Needs,
    Prepare,
    Serving,
    Slept,
    ToChild,
    ToHost,
    Warmed,
    Warming,
)
from glowplug.process.slots import Slots
from glowplug.process.spawn import can_bind_life, child_environment, spawn
from glowplug.process.spec import HostSpec
from glowplug.process.watch import Watch, Watched
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import Gates, Status
from glowplug.store import ModelInfo

RETRY_SECONDS = 2
SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1, 30


class WeightsFetcher(Protocol):
    """Who brings declared weights to this machine."""

    async def fetch(
        self, declared: Mapping[str, str], progress: Callable[[int, int | None, str], None]
    ) -> dict[str, Path]:
        """Return a local path for each name; `progress` gets bytes done, bytes in all, and `fetch` or `read`."""


def _nobody(info: ModelInfo) -> None:
    del info


class Keeper(Startable):
    """The supervision of one model's process. `places` are open while it serves."""

    def __init__(
        self,
        spec: HostSpec,
        component: Component,
        *,
        clock: Clock,
        weights: WeightsFetcher | None,
        calls: Calls,
        places: Slots,
    ) -> None:
        self.info: ModelInfo | None = None
        self.on_info: Callable[[ModelInfo], None] = _nobody
        self.slots = spec.slots or 1
        self.given_up = asyncio.Event()
        self._spec = spec
        self._component = component
        self._clock = clock
        self._weights = weights
        self._calls = calls
        self._places = places
        self._restarts = Restarts(spec.load_attempts, spec.max_restarts)
        self._life: Life | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._asked_again = asyncio.Event()
        self._wanted = spec.preload
        self._warming: asyncio.Task[None] | None = None
        lodger = Lodger(
            spec=spec, component=component, clock=clock, calls=calls, places=places, asked=self._asked_again
        )
        self._lodging = Lodging(lodger)

    # What the host may do with the process.

    @property
    def serving(self) -> bool:
        """Say whether the process takes calls."""
        return self._life is not None and self._life.serving

    def send(self, message: ToChild) -> None:
        """Send a message to the process there is."""
        if self._life is not None:
            self._life.send(message)

    def kill(self, reason: str) -> None:
        """End the process for a call's sake; it is started again."""
        if self._life is not None:
            self._life.kill(Death(reason, ErrorClass.TRANSIENT, blameless=True))

    def went_well(self) -> None:
        """Note that the model does its work: deaths before do not count any more."""
        self._restarts = self._restarts.after_good_work()

    def try_again(self) -> None:
        """Begin afresh after having given up; where only something that the model leans on fails, look at it now."""
        if self.serving and self._component.status.is_failed:
            self.send(Check())
        else:
            self._asked_again.set()

    def not_ready(self) -> NotReady:
        """Return why there is nobody to take a call, and when to ask again."""
        name, seen = self._component.name, self._component.snapshot()
        if seen.status is Status.DRAINING:
            return Draining(f"{name} is draining and takes nothing new")
        if seen.status.is_failed:
            why = seen.failure.error if seen.failure else seen.reason
            if self.serving:
                return NotReady(f"{name} does not work at the moment: {why}", retry_after=RETRY_SECONDS)
            return LoadFailed(f"{name} could not be loaded: {why}")
        seconds = round(seen.estimate.seconds) if seen.estimate else RETRY_SECONDS
        wait = max(SHORTEST_RETRY_SECONDS, min(LONGEST_RETRY_SECONDS, seconds))
        return NotReady(f"{name} is not ready yet: {seen.status}", retry_after=wait)

    async def warm_up(self) -> float:
        """Let the process warm up again and return the seconds it took. Raises what went wrong."""
        life = self._life
        if life is None or not life.serving:
            raise self.not_ready()
        message = await asyncio.shield(life.warm())
        if message.error is not None:
            raise message.error.error()
        return message.seconds

    # Its lives.

    async def _start(self) -> None:
        environment = child_environment(os.environ if self._spec.environment is None else self._spec.environment)
        self._environment, self._redact = environment, Redactor(environment)
        self._restarts = self._restarts.afresh()
        self._wanted = self._spec.preload
        self._asked_again.clear()
        self.given_up.clear()
        self._gates = self._component.gates
        self._component.spec = replace(self._component.spec, deadlines=self._spec.deadlines)
        # Spawned before anything is awaited: the interpreter starts while the caller goes on with its own start.
        first = self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(first), name=f"keeper of {self._component.name}")

    async def _stop(self) -> None:
        await cancel(self._supervisor)
        status = self._component.status
        if not status.is_failed and status is not Status.DRAINING:
            self._component.sleep("stopped")
        if self._life is not None:
            await self._unload(self._life)
        await self._lodging.close()
        self._places.close(NotReady(f"{self._component.name} was stopped"))
        self._calls.died(Death("stopped", ErrorClass.TRANSIENT, blameless=True), self._component.name, ())

    async def _unload(self, life: Life) -> None:
        if life.serving and not len(self._calls):
            life.unload()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._spec.cancel_grace_seconds):
                    await life.ended()
        life.abandon(NotReady(f"{self._component.name} was stopped"))
        await life.close()
        self._life = None

    async def _supervise(self, life: Life | Death) -> None:
        with suppress(Draining):
            while True:
                death = await self._live(life) if isinstance(life, Life) else life
                death = await self._lodging.judged(death)
                await self._lodging.leave()
                if isinstance(life, Life) and life.put_away:
                    await self._until_wanted(life)
                else:
                    await self._until_next(self._buried(death))
                life = self._spawn()

    def _spawn(self) -> Life | Death:
        attempt, name, spec = self._component.begin(), self._component.name, self._spec
        begin = Begin(spec.target, spec.device, dict(spec.options), spec.slots, os.getpid(), can_bind_life())
        try:
            spawned = spawn(begin, self._environment)
        except OSError as error:
            return Death(f"no process could be started: {error}", ErrorClass.TRANSIENT)
        emit("model.spawned", model=name, pid=spawned.process.pid, attempt=attempt)
        self._life = Life(spawned, name, attempt, Output(spawned.output, self._redact, self._print))
        return self._life

    async def _live(self, life: Life) -> Death:
        await life.open(partial(self._hear, life))
        watch = Watch(Watched(life, self._component, self._calls, self._spec.memory_limit_bytes), self._clock)
        duties = [
            asyncio.create_task(self._done(life, duty))
            for duty in (self._bring_up(life), self._lodging.stay(life), watch.run())
        ]
        try:
            return await life.ended()
        finally:
            self._over()
            for duty in duties:
                await cancel(duty)

    async def _done(self, life: Life, duty: Coroutine[Any, Any, None]) -> None:
        """Do a duty; a load without it would hang for ever, so its failure is the load's."""
        try:
            await duty
        except Exception as error:  # noqa: BLE001 - told as the reason of the death
            life.kill(Death(load_message(error), load_class(error)))

    async def _bring_up(self, life: Life) -> None:
        described = await life.described
        self._learn(described)
        if not self._wanted:
            await self._sleep_until_wanted(life)
        life.send(Prepare())
        paths = await self._fetched(life, described.weights)
        life.send(Load({name: str(path) for name, path in paths.items()}))
        placed = await self._lodging.place(life, await life.needs, list(paths.values()))
        # Whoever asked for this load has got it.
        self._asked_again.clear()
        if placed is not None:
            self._show_device(placed.device)
            life.send(placed)

    async def _sleep_until_wanted(self, life: Life) -> None:
        # After this a new process of the model loads at once: it was in use.
        self._component.sleep("loads when work waits for it")
        await self._asked_again.wait()
        self._wanted = True
        self._component.begin(life.attempt)

    async def _fetched(self, life: Life, declared: Mapping[str, str]) -> dict[str, Path]:
        if not declared:
            return {}
        if self._weights is None:
            raise SettingsError(f"{self._component.name} declares weights, but nothing here can fetch them")

        def progress(done: int, total: int | None, stage: str) -> None:
            self._component.stage(stage, attempt=life.attempt)
            self._component.advance(done=done, total=total, unit="bytes", attempt=life.attempt)

        return await self._weights.fetch(declared, progress)

    def _learn(self, described: Described) -> None:
        self.info, self.slots, self._calls.options = described.info, described.slots, described.options
        spec = self._component.spec
        self._component.spec = replace(spec, required=spec.required and described.required)
        self.on_info(described.info)

    def _buried(self, death: Death) -> Verdict:
        """Do what a death means for everybody, and decide what comes next."""
        # A server that the model leans on may be gone without harm to the whole; the model itself may not.
        self._component.spec = replace(self._component.spec, gates=self._gates)
        life, self._life = self._life, None
        self._restarts, verdict = self._restarts.after(death)
        if verdict.delay_seconds is None:
            self._component.fail(death.why, death.error_class)
        else:
            soon = f"in {verdict.delay_seconds:g} s ({verdict.number} of {verdict.most})"
            self._component.postpone(soon, death.why, death.error_class)
        # After the component: a caller who asks again at once must not be told that it is ready.
        self._places.close(self.not_ready())
        self._calls.died(death, self._component.name, tuple(life.output.last) if life else ())
        if life is not None:
            life.abandon(self.not_ready())
        return verdict

    async def _until_wanted(self, life: Life) -> None:
        """Wait without a process, after the last one was unloaded in good order."""
        self._life = None
        life.abandon(self.not_ready())
        await self._asked_again.wait()

    async def _until_next(self, verdict: Verdict) -> None:
        if verdict.delay_seconds is not None:
            await self._clock.sleep(verdict.delay_seconds)
            return
        self._asked_again.clear()
        self.given_up.set()
        await self._asked_again.wait()
        self.given_up.clear()
        self._restarts = self._restarts.afresh()

    # What the process says.

    def _hear(self, life: Life, message: ToHost) -> None:
        if self._calls.only is not None:
            # What it printed before this message belongs to the call that ran then.
            life.output.settle() if isinstance(message, Ended) else life.output.drain()
        message = redacted(message, self._redact)
        match message:
            case Moved():
                self._moved(life, message)
            case Described():
                life.described.set_result(message)
            case Needs():
                life.needs.set_result(message)
            case Checked():
                self._checked(life, message)
            case Serving():
                self._serve(life, message)
            case Slept():
                life.answers.put_nowait(message)
            case Holding():
                life.held_bytes = message.held_bytes
            case Broken():
                life.broke(message)
            case Warming():
                self._warming = asyncio.create_task(self._end_overdue(life), name=f"warm-up of {self._component.name}")
            case Warmed():
                self._over()
                life.warmed(message)
            case _:
                self._calls.hear(message)

    async def _end_overdue(self, life: Life) -> None:
        """End a process whose warm-up does not come back: it says ready, and every call would wait for it for ever."""
        await self._clock.sleep(self._spec.warm_up_seconds)
        life.kill(Death("Model warm-up timeout", ErrorClass.STALLED))

    def _over(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            self._warming = None

    def _moved(self, life: Life, message: Moved) -> None:
        self._component.stage(message.stage, attempt=life.attempt)
        if message.done or message.total is not None:
            self._component.advance(done=message.done, total=message.total, unit=message.unit, attempt=life.attempt)

    def _serve(self, life: Life, message: Serving) -> None:
        life.output.drain()
        life.serving = life.was_ready = True
        life.held_bytes = message.held_bytes
        life.answers.put_nowait(message)
        self._show_device(message.device)
        # Ready first: whoever hears of a free slot must find a model that says it is ready.
        self._component.ready(attempt=life.attempt)
        life.attempt = self._component.attempt
        self._places.open(self.slots)
        if life.wrong is not None:
            self._lean(life)

    def _show_device(self, device: str) -> None:
        self._component.spec = replace(self._component.spec, device=device, gates=self._gates)

    def _checked(self, life: Life, message: Checked) -> None:
        life.wrong = message.error
        # One that is falling asleep shows that, and looks again when it wakes.
        if life.serving and self._component.status is not Status.SLEEPING:
            self._lean(life)

    def _lean(self, life: Life) -> None:
        """Show whether what the model leans on works. If not, the whole stays ready: the model itself is well."""
        if life.wrong is not None:
            self._component.spec = replace(self._component.spec, gates=Gates.START)
            self._component.fail(life.wrong, ErrorClass.TRANSIENT, attempt=life.attempt)
        elif self._component.status.is_failed:
            self._component.ready(attempt=life.attempt)
            life.attempt = self._component.attempt

    def _print(self, lines: list[str]) -> None:
        if not self._calls.print(lines):
            for line in lines:
                emit("model.output", model=self._component.name, line=line)
