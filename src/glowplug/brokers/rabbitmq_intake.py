"""What one model takes in from RabbitMQ: a consumer for each free slot, and no hint for one that is not free."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import cast

from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from glowplug.broker import Arrival, Hint
from glowplug.brokers.messages import hint_of
from glowplug.brokers.rabbitmq_lanes import Lane, Message, Plan, Stage, batches, plan
from glowplug.brokers.rabbitmq_publishing import Letter, reason_headers
from glowplug.brokers.rabbitmq_queues import ANSWER_SECONDS, RabbitQueues
from glowplug.clock import Clock
from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import InvalidInput, Unreachable
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


@dataclass(eq=False)
class _Session:
    """A channel, and the lanes on it. With it they end."""

    outer: AbstractChannel
    channel: Channel
    lanes: dict[str, Lane] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Receipt:
    session: _Session
    lane: Lane
    message: Message


class Intake:
    """Takes in the hints of `model`, from the first `want` until `close`. Only its own task speaks to the server."""

    def __init__(self, model: str, parts: IntakeParts) -> None:
        self._model = model
        self._parts = parts
        self._clock = parts.clock
        self._session: _Session | None = None
        self._stale: list[_Session] = []
        self._changed = asyncio.Event()
        self._tags = count(1)
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
        return [self._hand_out(session, lane) for lane in taken]

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
        if session is None:
            return
        done = [lane.message for lane in session.lanes.values() if lane.stage is Stage.DONE]
        with suppress(Unreachable), self._parts.connection.speaking():
            for message in done:
                if message is not None:
                    await session.channel.basic_ack(message.number)
        await self._close_channel(session)

    def _lanes(self) -> Sequence[Lane]:
        return list(self._session.lanes.values()) if self._session is not None else []

    def _mine(self, receipt: object) -> Lane | None:
        """Return the lane of what was taken, if it is still out."""
        if not isinstance(receipt, _Receipt) or receipt.session is not self._session:
            return None
        lane = receipt.lane
        return lane if lane.stage is Stage.TAKEN and lane.message is receipt.message else None

    def _hand_out(self, session: _Session, lane: Lane) -> Arrival:
        message = lane.message
        assert message is not None
        assert message.hint is not None
        lane.stage = Stage.TAKEN
        return Arrival(message.hint, _Receipt(session, lane, message))

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

    def _why(self, error: Unreachable) -> str:
        if not isinstance(error.__cause__, TimeoutError):
            return error.message
        queue = self._parts.queues.hints(self._model)
        return f"queue {queue!r} did not answer: it may have no leader (rabbitmq-queues quorum_status {queue})"

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
            with self._parts.connection.speaking():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._carry_out(session, decided)
        if decided.again_at is not None:
            self._look_again(decided.again_at)

    async def _carry_out(self, session: _Session, decided: Plan) -> None:
        unacknowledged = [lane.message.number for lane in session.lanes.values() if lane.message is not None]
        numbers = []
        for lane in decided.acknowledge:
            assert lane.message is not None
            numbers.append(lane.message.number)
            lane.stage, lane.message = Stage.OPEN, None
        upto, single = batches(numbers, unacknowledged)
        if upto is not None:
            await session.channel.basic_ack(upto, multiple=True, wait=False)
        for number in single:
            await session.channel.basic_ack(number, wait=False)
        for lane in decided.close:
            await self._close(session, lane)
        for _ in range(decided.open):
            await self._open_lane(session)

    async def _close(self, session: _Session, lane: Lane) -> None:
        if lane.stage not in (Stage.OPEN, Stage.HELD, Stage.DONE, Stage.RELEASED):
            # Somebody took its message while others were closed.
            return
        was, lane.stage = lane.stage, Stage.CLOSING
        await session.channel.basic_cancel(lane.tag)
        session.lanes.pop(lane.tag, None)
        if lane.message is None:
            return
        if was is Stage.DONE:
            await session.channel.basic_ack(lane.message.number, wait=False)
        else:
            await session.channel.basic_nack(lane.message.number, requeue=True, wait=False)

    async def _open_session(self) -> None:
        parts = self._parts
        await parts.queues.ensure(parts.connection, self._model)
        outer = await parts.connection.channel(confirms=False)
        with parts.connection.speaking():
            channel = cast("Channel", await outer.get_underlay_channel())
            session = _Session(outer, channel)
            outer.close_callbacks.add(lambda _, error: self._end(session, f"the server closed the channel: {error}"))
            channel.on_consumer_cancel_callbacks.add(lambda frame: self._canceled(session, frame))
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.basic_qos(prefetch_count=1)
        self._session, self.quiet_since, self._told = session, self._clock.monotonic(), ""

    async def _open_lane(self, session: _Session) -> None:
        lane = Lane(f"{self._model}.{next(self._tags)}")
        session.lanes[lane.tag] = lane
        queue = self._parts.queues.hints(self._model)

        async def receive(delivered: DeliveredMessage) -> None:
            await self._receive(session, lane, delivered)

        await session.channel.basic_consume(queue, receive, consumer_tag=lane.tag)

    async def _receive(self, session: _Session, lane: Lane, delivered: DeliveredMessage) -> None:
        number = delivered.delivery_tag
        if session is not self._session or number is None:
            return
        self.quiet_since = lane.since = self._clock.monotonic()
        try:
            hint = hint_of(delivered.body, self._model)
        except InvalidInput as fault:
            lane.message = Message(number, None, delivered.body, fault.message)
            lane.stage = lane.stage if lane.stage is Stage.CLOSING else Stage.SPOILED
            self._changed.set()
            return
        lane.message = Message(number, hint)
        if lane.stage is not Stage.CLOSING:
            lane.stage = Stage.HELD
            await self._parts.arrived(hint)

    async def _bury_spoiled(self) -> None:
        queue = self._parts.queues.hints(self._model)
        for lane in self._lanes():
            message = lane.message
            if lane.stage is not Stage.SPOILED or message is None:
                continue
            emit("broker.refused", queue=queue, reason=message.fault)
            headers = reason_headers(message.fault, queue)
            await self._parts.bury(Letter(self._model, message.body, dead=True, headers=headers))
            if lane.stage is Stage.SPOILED:
                lane.stage, lane.since = Stage.DONE, self._clock.monotonic()
                self._changed.set()

    def _canceled(self, session: _Session, frame: Basic.Cancel) -> None:
        # The queue is gone, or the server took the consumer away: what it knows of us, it forgets with the channel.
        if frame.consumer_tag in session.lanes:
            self._parts.queues.forget(self._model)
            self._end(session, "the server canceled a consumer: its queue was deleted, or a hint was held too long")

    def _end(self, session: _Session, why: str) -> None:
        if session is self._session:
            self.fall(why)

    async def _drop(self, why: str) -> None:
        self._parts.queues.forget(self._model)
        self.fall(why)
        self._fallen = ""
        stale, self._stale = self._stale, []
        if (stale or why != self._told) and self._parts.connection.connected:
            self._told = why
            emit("broker.rebuilt", model=self._model, reason=why)
        for session in stale:
            if not session.outer.is_closed:
                await self._close_channel(session)

    async def _close_channel(self, session: _Session) -> None:
        try:
            with self._parts.connection.speaking():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await session.outer.close()
        except Unreachable:
            # It ends with the connection.
            return

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


def _jitter(failures: int) -> float:
    ceiling = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 30))
    return random.uniform(0, ceiling)  # noqa: S311 - no secret
