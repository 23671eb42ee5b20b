"""The intake of one model's queue on SQS: polls while there is room, and keeps what came until it is settled."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from glowplug.broker import Arrival, Hint
from glowplug.brokers.messages import hint_of
from glowplug.brokers.sqs_messages import BATCH
from glowplug.brokers.sqs_queues import Message, Receipt, SqsQueues
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, InvalidInput
from glowplug.events import emit
from glowplug.lifecycle import cancel

VISIBILITY_SECONDS = 60
# A little less, for the way of the answer: what is taken here is seen by nobody else meanwhile.
HOLD_SECONDS = 55.0
PAUSE_BASE_SECONDS = 0.5
PAUSE_CAP_SECONDS = 10.0


class Lookout:
    """Says once that the broker is lost, and once that it is back."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._lost_at: float | None = None

    def failed(self, error: GlowplugError) -> None:
        """Hear of a call that failed."""
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            emit("broker.lost", broker=self._name, error=error.message)

    def fine(self) -> None:
        """Hear of a call that did not."""
        if self._lost_at is not None:
            lost_at, self._lost_at = self._lost_at, None
            emit("broker.restored", broker=self._name, seconds=self._clock.monotonic() - lost_at)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the intakes of a broker have in common: `turns` bounds the polls at once, `ring` wakes those who wait."""

    queues: SqsQueues
    clock: Clock
    lookout: Lookout
    turns: asyncio.Semaphore
    ring: Callable[[Sequence[Hint]], Awaitable[None]]
    poll_seconds: int


@dataclass(frozen=True, slots=True)
class _Held:
    arrival: Arrival
    receipt: Receipt
    until: float


class Intake:
    """What is here of one model's hints. Those that were taken count as well, until they are settled."""

    def __init__(self, model: str, shared: Shared) -> None:
        self._model = model
        self._shared = shared
        self._wanted = 0
        self._arrived: deque[_Held] = deque()
        self._taken: dict[Receipt, _Held] = {}
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()

    def want(self, count: int) -> list[Receipt]:
        """Let at most `count` be here; return those that are too many now."""
        self._wanted = count
        self._changed.set()
        return self._surplus()

    def take(self, count: int) -> list[Arrival]:
        """Hand over at most `count` of those that came and are hidden from others still, the oldest first."""
        self._forget_shown()
        taken = [self._arrived.popleft() for _ in range(min(count, len(self._arrived)))]
        self._taken.update({held.receipt: held for held in taken})
        return [held.arrival for held in taken]

    def settled(self, receipts: Sequence[Receipt]) -> None:
        """Forget what was acknowledged or released."""
        for receipt in receipts:
            self._taken.pop(receipt, None)
        self._changed.set()

    def close(self) -> None:
        """Poll no more; `run` ends with the poll under way."""
        self._wanted = 0
        self._closed.set()
        self._changed.set()

    def empty(self) -> list[Receipt]:
        """Hand over all that is here, for release."""
        held = [*self._arrived, *self._taken.values()]
        self._arrived.clear()
        self._taken.clear()
        return [one.receipt for one in held]

    async def run(self) -> None:
        """Poll while there is room, until closed; a service that is away is asked again, ever more seldom."""
        failures = 0
        while not self._closed.is_set():
            self._changed.clear()
            free = self._free()
            if free <= 0:
                await self._until(self._changed, self._next_shown_seconds())
                continue
            try:
                await self._poll(min(BATCH, free))
                self._shared.lookout.fine()
                failures = 0
            except GlowplugError as error:
                self._shared.lookout.failed(error)
                failures += 1
                await self._until(self._closed, pause_seconds(failures, random.random()))  # noqa: S311 - spreads retries

    async def _poll(self, count: int) -> None:
        shared = self._shared
        async with shared.turns:
            if self._closed.is_set():
                return
            messages = await shared.queues.receive(
                self._model, count, wait_seconds=shared.poll_seconds, visibility_seconds=VISIBILITY_SECONDS
            )
        until = shared.clock.monotonic() + HOLD_SECONDS
        read, refused = self._read(messages)
        self._arrived.extend(_Held(arrival, receipt, until) for arrival, receipt in read)
        await shared.ring([arrival.hint for arrival, _ in read])
        if surplus := self._surplus():
            await shared.queues.show(surplus)
        for message, reason in refused:
            emit("broker.refused", queue=self._model, reason=reason)
            await shared.queues.bury(self._model, message.body, reason)
            await shared.queues.delete([message.receipt])

    def _read(self, messages: Sequence[Message]) -> tuple[list[tuple[Arrival, Receipt]], list[tuple[Message, str]]]:
        read, refused = [], []
        for message in messages:
            try:
                hint = hint_of(message.body, self._model)
            except InvalidInput as error:
                refused.append((message, error.message))
            else:
                read.append((Arrival(hint, message.receipt), message.receipt))
        return read, refused

    def _free(self) -> int:
        self._forget_shown()
        return self._wanted - len(self._arrived) - len(self._taken)

    def _surplus(self) -> list[Receipt]:
        surplus = min(len(self._arrived), -self._free())
        return [self._arrived.pop().receipt for _ in range(surplus)]

    def _forget_shown(self) -> None:
        now = self._shared.clock.monotonic()
        self._arrived = deque(held for held in self._arrived if held.until > now)
        self._taken = {receipt: held for receipt, held in self._taken.items() if held.until > now}

    def _next_shown_seconds(self) -> float | None:
        if not self._wanted or not (self._arrived or self._taken):
            return None
        until = min(held.until for held in (*self._arrived, *self._taken.values()))
        return max(0.0, until - self._shared.clock.monotonic())

    async def _until(self, event: asyncio.Event, seconds: float | None) -> None:
        waits: list[asyncio.Task[object]] = [asyncio.create_task(event.wait())]
        if seconds is not None:
            waits.append(asyncio.create_task(self._shared.clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                await cancel(wait)


def pause_seconds(failures: int, jitter: float) -> float:
    """Return the full-jitter pause after so many failures in a row, `jitter` being uniform in 0..1."""
    return min(PAUSE_CAP_SECONDS, PAUSE_BASE_SECONDS * 2.0 ** min(failures - 1, 10)) * jitter
