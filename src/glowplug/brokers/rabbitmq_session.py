"""One channel to RabbitMQ, with the lanes of a model on it. With the channel they end, and all they hold goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import cast

import aiormq
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from glowplug.brokers.messages import hint_of
from glowplug.brokers.rabbitmq_lanes import Lane, Message, Plan, Stage, batches
from glowplug.brokers.rabbitmq_queues import ANSWER_SECONDS
from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import InvalidInput, Unreachable

CLOSE_SECONDS = 5.0
CANCELED = "the server canceled a consumer: its queue was deleted, or a hint was held too long"


class Session:
    """Consumes `queue` for `model`. `received` hears of lanes that got a message, `ended` why the channel is gone."""

    def __init__(
        self,
        connection: AmqpConnection,
        model: str,
        queue: str,
        *,
        received: Callable[[Session, Lane], Awaitable[None]],
        ended: Callable[[Session, str], None],
    ) -> None:
        self._connection = connection
        self._model = model
        self._queue = queue
        self._received = received
        self._ended = ended
        self._tags = count(1)
        self._outer: AbstractChannel | None = None
        self._channel: Channel | None = None
        self.lanes: dict[str, Lane] = {}

    async def open(self) -> None:
        """Open the channel; there are no lanes yet. Raises `Unreachable`."""
        self._outer = await self._connection.channel(confirms=False)
        with self._connection.speaking():
            self._channel = cast("Channel", await self._outer.get_underlay_channel())
            self._outer.close_callbacks.add(self._note_end)
            self._channel.on_consumer_cancel_callbacks.add(self._note_cancellation)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._channel.basic_qos(prefetch_count=1)

    async def carry_out(self, decided: Plan) -> None:
        """Do what was decided. Raises `Unreachable`."""
        with self._connection.speaking():
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._acknowledge(decided.acknowledge)
                for lane in decided.close:
                    await self._close_lane(lane)
                for _ in range(decided.open):
                    await self._open_lane()

    async def close(self, *, forget: bool) -> None:
        """Close the channel; with `forget`, what is done with is acknowledged first. Never raises."""
        done = [lane.message for lane in self.lanes.values() if forget and lane.stage is Stage.DONE]
        with suppress(Unreachable), self._connection.speaking():
            async with asyncio.timeout(CLOSE_SECONDS):
                for message in filter(None, done):
                    await self._open_channel.basic_ack(message.number)
                if self._outer is not None and not self._outer.is_closed:
                    await self._outer.close()

    @property
    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise Unreachable("the channel is not open")
        return self._channel

    async def _acknowledge(self, lanes: tuple[Lane, ...]) -> None:
        held = [lane.message.number for lane in self.lanes.values() if lane.message is not None]
        numbers = [lane.message.number for lane in lanes if lane.message is not None]
        for lane in lanes:
            # Before the server hears of it, as the next message may come right after.
            lane.stage, lane.message = Stage.OPEN, None
        upto, single = batches(numbers, held)
        if upto is not None:
            await self._open_channel.basic_ack(upto, multiple=True, wait=False)
        for number in single:
            await self._open_channel.basic_ack(number, wait=False)

    async def _close_lane(self, lane: Lane) -> None:
        if lane.stage not in (Stage.OPEN, Stage.HELD, Stage.DONE, Stage.RELEASED):
            # Somebody took its message while others were closed.
            return
        was, lane.stage = lane.stage, Stage.CLOSING
        await self._open_channel.basic_cancel(lane.tag)
        self.lanes.pop(lane.tag, None)
        if lane.message is None:
            return
        if was is Stage.DONE:
            await self._open_channel.basic_ack(lane.message.number, wait=False)
        else:
            await self._open_channel.basic_nack(lane.message.number, requeue=True, wait=False)

    async def _open_lane(self) -> None:
        lane = Lane(f"{self._model}.{next(self._tags)}")
        self.lanes[lane.tag] = lane

        async def receive(delivered: DeliveredMessage) -> None:
            await self._receive(lane, delivered)

        await self._open_channel.basic_consume(self._queue, receive, consumer_tag=lane.tag)

    async def _receive(self, lane: Lane, delivered: DeliveredMessage) -> None:
        lane.message = _message(delivered, self._model)
        if lane.stage is not Stage.CLOSING:
            lane.stage = Stage.SPOILED if lane.message.hint is None else Stage.HELD
            await self._received(self, lane)

    def _note_end(self, _: object, error: BaseException | None) -> None:
        self._ended(self, f"the server closed the channel: {error}")

    def _note_cancellation(self, frame: aiormq.spec.Basic.Cancel) -> None:
        # The queue is gone, or the server took the consumer away: what it knows of us, it forgets with the channel.
        if frame.consumer_tag in self.lanes:
            self._ended(self, CANCELED)


def _message(delivered: DeliveredMessage, model: str) -> Message:
    number = delivered.delivery_tag or 0
    try:
        return Message(number, hint_of(delivered.body, model))
    except InvalidInput as fault:
        return Message(number, None, delivered.body, fault.message)
