"""What one model takes in from RabbitMQ: a consumer for each free slot, and no hint for one that is not free."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from glowplug.broker import Arrival, Hint
from glowplug.brokers.rabbitmq_lanes import Lane, Message, Stage, plan
from glowplug.brokers.rabbitmq_publishing import Letter, reason_headers
from glowplug.brokers.rabbitmq_queues import RabbitQueues
from glowplug.brokers.rabbitmq_session import Session
from glowplug.clock import Clock
from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import Unreachable
from glowplug.events import emit
from glowplug.lifecycle import cancel

RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 10.0
# What was given back would otherwise come straight to us again.
RELEASE_PAUSE_SECONDS = 0.25
RELEASE_PAUSE_CAP_SECONDS = 5.0


@dataclass(frozen=True)
class IntakeParts:
    """What an intake works with: it tells `arrived` of each hint, and `bury` keeps what is no hint."""

    connection: AmqpConnection
    queues: RabbitQueues
    clock: Clock
    arrived: Callable[[Hint], Awaitable[None]]
    bury: Callable[[Letter], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class _Receipt:
    session: Session
    lane: Lane
    message: Message


class Intake:
    """Takes in the hints of `model`, from the first `want` until `close`. Only its own task speaks to the server."""

    def __init__(self, model: str, parts: IntakeParts) -> None:
        self._model = model
        self._parts = parts
        self._clock = parts.clock
        self._session: Session | None = None
        self._stale: list[Session] = []
        self._changed = asyncio.Event()
        self._wanted = 0
        self._open_from = 0.0
        self._releases = 0
        self._fallen = ""
        self._told = ""
        self._timer: asyncio.Task[None] | None = None
        self._timer_at = 0.0
        self._worker: asyncio.Task[None] | None = None
        self.quiet_since: float | None = None

    def want(self, slots: int) -> None:
        """Say how many hints may be held."""
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        if slots and not self._wanted:
            self.quiet_since = self._clock.monotonic()
        if slots != self._wanted:
            self._wanted = slots
            self._changed.set()

    def take(self, limit: int) -> list[Arrival]:
        """Return what has arrived, the oldest first."""
        session = self._session
        if session is None:
            return []
        held = [lane for lane in session.lanes.values() if lane.stage is Stage.HELD]
        taken = sorted(held, key=lambda lane: lane.since)[: max(0, limit)]
        return [_hand_out(session, lane) for lane in taken]

    def acknowledge(self, receipt: object) -> None:
        """Let a hint be forgotten, as soon as that brings no hint that nobody has a slot for."""
        lane = self._mine(receipt)
        if lane is not None:
            lane.stage, lane.since = Stage.DONE, self._clock.monotonic()
            self._releases = 0
            self._changed.set()

    def release(self, receipt: object) -> None:
        """Give a hint back."""
        lane = self._mine(receipt)
        if lane is not None:
            lane.stage = Stage.RELEASED
            pause = min(RELEASE_PAUSE_CAP_SECONDS, RELEASE_PAUSE_SECONDS * 2.0 ** min(self._releases, 30))
            self._open_from = self._clock.monotonic() + pause
            self._releases += 1
            self._changed.set()

    def fall(self, why: str) -> None:
        """Forget the channel and what came over it: the server hands all of it out again."""
        if self._session is not None:
            self._stale.append(self._session)
            self._session, self._fallen = None, why
            self._changed.set()

    @property
    def waits(self) -> bool:
        """Say whether a message should come at once if there is one."""
        return any(lane.stage is Stage.OPEN for lane in self._lanes())

    async def close(self) -> None:
        """Acknowledge what is to be, and give the rest back."""
        for task in (self._worker, self._timer):
            await cancel(task)
        session, self._session = self._session, None
        if session is not None:
            await session.close(forget=True)

    def _lanes(self) -> Sequence[Lane]:
        return list(self._session.lanes.values()) if self._session is not None else []

    def _mine(self, receipt: object) -> Lane | None:
        """Return the lane of what was taken, if it is still out."""
        if not isinstance(receipt, _Receipt) or receipt.session is not self._session:
            return None
        lane = receipt.lane
        return lane if lane.stage is Stage.TAKEN and lane.message is receipt.message else None

    async def _received(self, session: Session, lane: Lane) -> None:
        if session is not self._session:
            return
        self.quiet_since = lane.since = self._clock.monotonic()
        if lane.message is not None and lane.message.hint is not None:
            await self._parts.arrived(lane.message.hint)
        else:
            self._changed.set()

    def _ended(self, session: Session, why: str) -> None:
        if session is self._session:
            self.fall(why)

    # What the task does.

    async def _work(self) -> None:
        failures, failed_at = 0, 0.0
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._settle()
            except Unreachable as error:
                await self._drop(self._why(error))
                await self._parts.connection.wait_connected()
                # One that fails as soon as it is made is no better than one that cannot be made.
                now = self._clock.monotonic()
                failures = failures + 1 if now < failed_at + 2 * RETRY_CAP_SECONDS else 0
                failed_at = now
                await self._clock.sleep(_jitter(failures))
                self._changed.set()

    async def _settle(self) -> None:
        if self._fallen:
            raise Unreachable(self._fallen)
        while True:
            await self._bury_spoiled()
            if self._session is None and self._wanted:
                await self._open_session()
            session, now = self._session, self._clock.monotonic()
            decided = plan(self._lanes(), self._wanted, now, open_from=self._open_from)
            if session is None or decided.idle:
                break
            self.quiet_since = now
            await session.carry_out(decided)
        if decided.again_at is not None:
            self._look_again(decided.again_at)

    async def _open_session(self) -> None:
        parts = self._parts
        await parts.queues.ensure(parts.connection, self._model)
        queue = parts.queues.hints(self._model)
        session = Session(parts.connection, self._model, queue, received=self._received, ended=self._ended)
        # Until it is open, it is one to be closed.
        self._stale.append(session)
        await session.open()
        self._stale.remove(session)
        self._session, self.quiet_since, self._told = session, self._clock.monotonic(), ""

    async def _bury_spoiled(self) -> None:
        queue = self._parts.queues.hints(self._model)
        for lane in self._lanes():
            message = lane.message
            if lane.stage is not Stage.SPOILED or message is None:
                continue
            emit("broker.refused", queue=queue, reason=message.fault)
            headers = reason_headers(message.fault, queue)
            await self._parts.bury(Letter(self._model, message.body, dead=True, headers=headers))
            lane.stage, lane.since = Stage.DONE, self._clock.monotonic()

    async def _drop(self, why: str) -> None:
        self._parts.queues.forget(self._model)
        self.fall(why)
        self._fallen = ""
        stale, self._stale = self._stale, []
        if (stale or why != self._told) and self._parts.connection.connected:
            self._told = why
            emit("broker.rebuilt", model=self._model, reason=why)
        for session in stale:
            await session.close(forget=False)

    def _why(self, error: Unreachable) -> str:
        if not isinstance(error.__cause__, TimeoutError):
            return error.message
        queue = self._parts.queues.hints(self._model)
        return f"queue {queue!r} did not answer: it may have no leader (rabbitmq-queues quorum_status {queue})"

    def _look_again(self, at: float) -> None:
        """Wake the task at that time, or sooner if it is to wake sooner."""
        if self._timer is not None and not self._timer.done() and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.create_task(self._ring(at))

    async def _ring(self, at: float) -> None:
        await self._clock.sleep(at - self._clock.monotonic())
        self._changed.set()


def _hand_out(session: Session, lane: Lane) -> Arrival:
    message = lane.message
    assert message is not None
    assert message.hint is not None
    lane.stage = Stage.TAKEN
    return Arrival(message.hint, _Receipt(session, lane, message))


def _jitter(failures: int) -> float:
    ceiling = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 30))
    return random.uniform(0, ceiling)  # noqa: S311 - no secret
