"""Publishing to RabbitMQ: persistent, confirmed, and refused aloud where no queue takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

import aiormq
from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel

from glowplug.brokers.rabbitmq_queues import ANSWER_SECONDS, RabbitQueues
from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import Unreachable

AT_ONCE = 256
PERSISTENT = 2
LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to a queue of a model: that of its hints, or that of its dead letters."""

    model: str
    body: bytes
    dead: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


class Publisher:
    """Sends letters over its connection, on one channel with confirms. `gone` hears of models whose queue vanished."""

    def __init__(self, connection: AmqpConnection, queues: RabbitQueues, gone: Callable[[str], None]) -> None:
        self._connection = connection
        self._queues = queues
        self._gone = gone
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def send(self, letters: Sequence[Letter]) -> None:
        """Send all; they are safe with the server when this returns. Raises `Unreachable`."""
        unrouted = await self._send(letters)
        if unrouted:
            # Somebody deleted a queue since we made it.
            for model in {letter.model for letter in unrouted}:
                self._queues.forget(model)
                self._gone(model)
            unrouted = await self._send(unrouted)
        if unrouted:
            raise Unreachable(f"no queue took {len(unrouted)} messages: somebody deletes the queues as they are made")

    async def _send(self, letters: Sequence[Letter]) -> list[Letter]:
        """Send, and return those that no queue took."""
        for model in {letter.model for letter in letters}:
            await self._queues.ensure(self._connection, model)
        channel = await self._open()
        try:
            with self._connection.speaking():
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._put_all(channel, letters)
        except Unreachable as error:
            if isinstance(error.__cause__, TimeoutError):
                await self._connection.break_off()
                raise Unreachable(_unconfirmed(len(letters))) from error
            raise

    async def _put_all(self, channel: AbstractChannel, letters: Sequence[Letter]) -> list[Letter]:
        underlay = cast("Channel", await channel.get_underlay_channel())
        rest, unrouted = iter(letters), []
        while some := list(islice(rest, AT_ONCE)):
            taken = await asyncio.gather(*[self._put(underlay, letter) for letter in some])
            unrouted += [letter for letter, ok in zip(some, taken, strict=True) if not ok]
        return unrouted

    async def _put(self, channel: Channel, letter: Letter) -> bool:
        queue = self._queues.dead_letters(letter.model) if letter.dead else self._queues.hints(letter.model)
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json", delivery_mode=PERSISTENT, headers=dict(letter.headers) or None
        )
        try:
            await channel.basic_publish(
                letter.body, routing_key=queue, properties=properties, mandatory=True, wait=False
            )
        except aiormq.exceptions.PublishError:
            return False
        return True

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._connection.channel(confirms=True)
            return self._channel


def reason_headers(reason: str, queue: str) -> dict[str, str]:
    """Return the headers that say why a message is a dead letter, and where it came from."""
    plain = "".join(sign if sign.isprintable() else " " for sign in reason)[:LONGEST_REASON]
    return {"x-reason": plain or "unknown", "x-from-queue": queue}


def _unconfirmed(count: int) -> str:
    return (
        f"RabbitMQ did not confirm {count} messages within {ANSWER_SECONDS:g} s: its disk or memory alarm may be on "
        "(rabbitmq-diagnostics alarms), or a queue has no leader (rabbitmq-queues quorum_status NAME)"
    )
