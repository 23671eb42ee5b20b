"""Loading in this process: one component's attempts, in time or not, until it is ready, and what comes after that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from glowplug.app.checks import keep_checking
from glowplug.app.context import Attempted
from glowplug.app.loader import Life, Place
from glowplug.app.performing import Function, Raised, in_daemon_thread
from glowplug.app.trouble import Trouble
from glowplug.errors import Canceled, DeadlineExceeded, Draining, Interrupted, NotReady, TaskFailed
from glowplug.events import emit
from glowplug.lifecycle import cancel
from glowplug.process.faults import load_message
from glowplug.readiness.component_snapshot import ErrorClass
from glowplug.readiness.state import Status
from glowplug.runtime.backoff import Backoff

GRACE_SECONDS = 5.0
"""How long a coroutine that was canceled may tidy up."""
NOTE_SECONDS = 1.0
"""How long the end waits until it is written down how long the load took."""
TICK_SECONDS = 1.0
"""A new stage may bring the deadline nearer, so it is looked at this often."""
_CANCELED_ITSELF = Trouble("the load canceled its own task", ErrorClass.PERMANENT)
STANDSTILL_SECONDS = 1.0
"""A server that answers nobody for this long is no server, and the developer should hear of it."""
_WRITE_DEF = "if its load blocks, write `def` instead of `async def`: it then runs in a thread"
_ISOLATE = "if its load holds the interpreter's lock, make it a Model and give it isolate=True: a process of its own"
RETRY = Backoff(base_seconds=8.0, cap_seconds=60.0)
_log = logging.getLogger("glowplug")


@dataclass(frozen=True, slots=True)
class Work:
    """What a developer gave: how to load, to warm up (called with the value and the context) and to unload."""

    load: Function
    warm_up: Function | None = None
    unload: Function | None = None


@dataclass(slots=True)
class Attempt:
    """One attempt; `breakable` while it can be ended from outside, which a thread cannot."""

    name: str
    number: int
    context: Attempted
    breakable: bool = False
    told: bool = False

    def stood_still(self, seconds: float, function: Function) -> None:
        """Hear for how long the server answered nobody while `function` ran, and say so once if it was long."""
        if seconds <= STANDSTILL_SECONDS or self.told:
            return
        self.told = True
        advice = _WRITE_DEF if function.on_loop else _ISOLATE
        emit("app.standstill", component=self.name, seconds=round(seconds, 1), advice=advice)

    @contextmanager
    def within_reach(self, on_loop: bool = True) -> Iterator[None]:
        """Mark a part of the attempt that runs on the loop, if it does."""
        self.breakable = on_loop
        try:
            yield
        finally:
            self.breakable = False


class Attempts(Life):
    """The life of a component that is loaded in this process.

    A load past its deadline fails. If it runs in a thread, nobody can end it, and it makes the component ready after
    all when it finishes late, unless a newer attempt has begun meanwhile.
    """

    def __init__(self, work: Work, place: Place) -> None:
        super().__init__(place)
        self._work = work
        self._value: Any = None
        self._context = Attempted()
        self._task: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._warming = asyncio.Lock()

    @property
    def value(self) -> Any:
        """Return what the load returned."""
        return self._value

    async def retry(self) -> None:
        """Begin a new attempt; what the one before still comes to is dropped."""
        self._begin()

    async def warm_up(self) -> float | None:
        """Warm up again, one at a time.

        Raises:
            NotReady: it is being loaded again.
            TaskFailed: the warm-up raised.
            DeadlineExceeded: it takes longer than it may.
        """
        warm_up, clock = self._work.warm_up, self.place.whole.clock
        if warm_up is None:
            return None
        limit = self.component.spec.deadlines.warm_up_seconds
        async with self._warming:
            # Another warm-up, and a retry, may have been before this one's turn.
            if not self.component.status.can_serve:
                raise NotReady(f"{self.place.name} is not ready any more")
            began = clock.monotonic()
            try:
                async with asyncio.timeout(limit):
                    await warm_up.perform(self._value, self._context, thread=f"warm up {self.place.name}")
            except TimeoutError as error:
                raise DeadlineExceeded(f"{self.place.name}: the warm-up takes longer than {limit:g} s") from error
            except Raised as raised:
                raise TaskFailed(f"{self.place.name}: {load_message(raised.error)}") from raised.error
            seconds = clock.monotonic() - began
        self.component.rewarmed(seconds)
        return seconds

    async def _start(self) -> None:
        self._begin()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        self._context.abandon(Interrupted(f"{self.place.name}: the application is leaving"))
        await ended(task)
        if self._noting is not None:
            await asyncio.wait({self._noting}, timeout=NOTE_SECONDS)
        value, self._value = self._value, None
        if value is not None and self._work.unload is not None:
            with suppress(TimeoutError, Raised):
                async with asyncio.timeout(GRACE_SECONDS):
                    await self._work.unload.perform(value, thread=f"unload {self.place.name}")

    def _begin(self) -> None:
        # At once: whoever asks for the same a moment later finds an attempt under way.
        attempt = self._next()
        earlier, self._value = self._task, None
        self._task = asyncio.create_task(self._live(attempt, earlier), name=f"load {self.place.name}")

    def _next(self) -> Attempt:
        options = self.place.options
        number = self.component.begin()
        self._context.abandon(Canceled(f"{self.place.name}: a newer attempt has begun"))
        self._context = Attempted(device=options.device or "cpu", options=dict(options.options))
        self._context.attach(self.component, number)
        return Attempt(self.place.name, number, self._context)

    async def _live(self, attempt: Attempt, earlier: asyncio.Task[None] | None) -> None:
        await ended(earlier)
        failures = 0
        while (trouble := await self._try(attempt)) is not None:
            failures += 1
            if trouble.story:
                _log.error("%s could not be loaded (attempt %d)\n%s", self.place.name, attempt.number, trouble.story)
            elif trouble.reason is not None:
                # The picture has room for "not_installed" alone; an import that broke further down looks the same.
                _log.warning("%s is unavailable: %s", self.place.name, trouble.message)
            if not trouble.may_pass or failures > self.place.options.retries:
                trouble.tell(self.component, attempt.number)
                return
            await self._pause(trouble, failures)
            try:
                attempt = self._next()
            except Draining:
                return
        if self.place.options.check is not None and self.component.status.can_serve:
            await keep_checking(self.place, self._value)

    async def _pause(self, trouble: Trouble, failures: int) -> None:
        delay = RETRY.delay_seconds(failures)
        again = f"in {delay:.0f} s ({failures + 1} of {self.place.options.retries + 1})"
        self.component.postpone(again, trouble.message, trouble.error_class)
        await self.place.whole.clock.sleep(delay)

    async def _try(self, attempt: Attempt) -> Trouble | None:
        """Return why an attempt failed, None if it made the component ready or was given up at its deadline."""
        work = asyncio.create_task(self._bring_up(attempt), name=f"attempt at {self.place.name}")
        watch = asyncio.create_task(self._watch(attempt, work), name=f"deadline of {self.place.name}")
        try:
            await asyncio.wait({work})
        finally:
            await cancel(watch)
            await ended(work)
        if not work.cancelled():
            return work.result()
        # Past its deadline the component has failed already. Else nobody but the load's own code can have done it.
        return None if self.component.status.is_failed else _CANCELED_ITSELF

    async def _watch(self, attempt: Attempt, work: asyncio.Task[Trouble | None]) -> None:
        clock = self.place.whole.clock
        while (moment := self.component.deadline()) is not None:
            wakes = max(clock.monotonic(), min(clock.monotonic() + TICK_SECONDS, moment))
            await clock.sleep(wakes - clock.monotonic())
            attempt.stood_still(clock.monotonic() - wakes, self._work.load)
            if self.component.expire() is not None:
                if attempt.breakable:
                    work.cancel()
                return

    async def _bring_up(self, attempt: Attempt) -> Trouble | None:
        try:
            self._value = await self._loaded(attempt)
        except Raised as raised:
            return self._trouble(raised.error)
        except Exception as error:  # noqa: BLE001 - weights that cannot be had fail the load as the load itself does
            return self._trouble(error)
        # In a thread, because the history of loads is written: a slow disk must hold up nobody.
        noted = in_daemon_thread(partial(self.component.ready, attempt=attempt.number), f"note {self.place.name}")
        self._noting = asyncio.create_task(noted, name=f"note {self.place.name}")
        await asyncio.shield(self._noting)
        return None

    def _trouble(self, error: BaseException) -> Trouble:
        warming = self.component.status is Status.WARMING
        trouble = Trouble.of(error, required=self.component.required)
        return replace(trouble, message=f"warm-up failed: {trouble.message}") if warming else trouble

    async def _loaded(self, attempt: Attempt) -> Any:
        context, name = attempt.context, self.place.name
        if self.place.options.weights:
            with attempt.within_reach():
                context.weights = await self._weights(attempt)
        with attempt.within_reach(self._work.load.on_loop):
            value = await _performed(attempt, self._work.load, context, thread=f"load {name}")
        warm_up = self._work.warm_up
        if warm_up is not None and self.place.whole.auto_warmup:
            self.component.warming(attempt=attempt.number)
            with attempt.within_reach(warm_up.on_loop):
                await _performed(attempt, warm_up, value, context, thread=f"warm up {name}")
        return value

    async def _weights(self, attempt: Attempt) -> dict[str, Any]:
        def progress(done: int, total: int | None, stage: str) -> None:
            self.component.stage(stage, attempt=attempt.number)
            self.component.advance(done=done, total=total, unit="bytes", attempt=attempt.number)

        return await self.place.storage.fetch(self.place.options.weights, progress)


async def _performed(attempt: Attempt, function: Function, *arguments: Any, thread: str) -> Any:
    return await function.perform(
        *arguments, thread=thread, on_step=lambda seconds: attempt.stood_still(seconds, function)
    )


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for its end, but not for ever: it may run a developer's code, which may not end."""
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=GRACE_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()
