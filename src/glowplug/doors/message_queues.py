"""Queues that others share with us: never declared against their will, published to with the broker's word for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import Unreachable
from glowplug.lifecycle import stop_if_canceled

T = TypeVar("T")
ASK_SECONDS = 15.0
LONGEST_REASON = 1000
# One frame holds all properties, and a frame of RabbitMQ has 128 KiB.
MOST_PROPERTIES_BYTES = 100 * 1024


async def asked(call: Awaitable[T], what: str) -> T:
    """Return what the broker answers, within a bound of time. Raises `Unreachable`."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await call
    except TimeoutError as error:
        raise Unreachable(f"{what}: RabbitMQ did not answer within {ASK_SECONDS:g} s") from error
    except asyncio.CancelledError as error:
        stop_if_canceled()
        raise Unreachable(f"{what}: the connection was lost") from error
    except Exception as error:
        # A connection that breaks ends what waits for it with any exception, a bare `Exception` among them.
        stop_if_canceled()
        raise Unreachable(f"{what}: {str(error) or type(error).__name__}") from error


async def ensure_queue(connection: AmqpConnection, name: str) -> None:
    """Make sure that a queue is there: looked for first, declared durable and plain if it is absent.

    One that is there is taken as it is, whatever its arguments. Raises `Unreachable`, which says what mends it.
    """
    if not await _declared(connection, name, passive=True):
        await _declared(connection, name, passive=False)


async def _declared(connection: AmqpConnection, name: str, *, passive: bool) -> bool:
    # A refusal closes the channel, so each question has one of its own.
    channel = await connection.channel(confirms=False)
    what = f"the queue {name!r}"
    try:
        await asked(channel.declare_queue(name, passive=passive, durable=not passive), what)
    except Unreachable as error:
        match error.__cause__:
            case aiormq.exceptions.ChannelNotFoundEntity() if passive:
                return False
            case aiormq.exceptions.ChannelPreconditionFailed():
                # Somebody with a mind of his own declared it in between.
                return True
            case aiormq.exceptions.ChannelLockedResource():
                raise Unreachable(f"{what} belongs to another connection alone: declare it there as shared") from error
            case aiormq.exceptions.ChannelAccessRefused():
                raise Unreachable(f"{what} is forbidden to us: rabbitmqctl set_permissions … '.*' '.*' '.*'") from error
        raise
    finally:
        await close(channel)
    return True


async def close(channel: AbstractChannel) -> None:
    """Close a channel; what it had not acknowledged goes back to its queue."""
    try:
        await asked(channel.close(), "closing a channel")
    except Unreachable:
        # It was closed by the other side.
        return


class Outlet:
    """Publishes to queues by name; what returns has been confirmed by the broker."""

    def __init__(self, connection: AmqpConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._there: set[str] = set()
        self._opening = asyncio.Lock()

    async def publish(self, queue: str, message: aio_pika.Message) -> None:
        """Send a message; the queue is made if it is absent. Raises `Unreachable`."""
        channel = await self._open(queue)
        try:
            await asked(channel.default_exchange.publish(message, queue, mandatory=True), f"the queue {queue!r}")
        except Unreachable:
            # Perhaps it was deleted: looked for again before the next message.
            self._there.discard(queue)
            raise

    async def _open(self, queue: str) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._there.clear()
                self._channel = await self._connection.channel(confirms=True)
            if queue not in self._there:
                await ensure_queue(self._connection, queue)
                self._there.add(queue)
            return self._channel


def dead_letter(message: AbstractIncomingMessage, reason: str, queue: str) -> aio_pika.Message:
    """Return a copy of a message for the dead-letter queue, with the reason in its headers.

    Its properties are kept, but for those that would make the copy vanish (`expiration`) or be refused (`user_id`,
    which is the name of who publishes): that one is in a header.
    """
    said = {"x-reason": reason[:LONGEST_REASON], "x-original-queue": queue}
    if message.user_id:
        said["x-original-user-id"] = message.user_id
    kept = _copy(message, {**message.headers, **said})
    return kept if _fits(kept) else _copy(message, said)


def _copy(message: AbstractIncomingMessage, headers: Mapping[str, Any]) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers=dict(headers),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )


def _fits(message: aio_pika.Message) -> bool:
    try:
        return len(message.properties.marshal()) <= MOST_PROPERTIES_BYTES
    except Exception:  # noqa: BLE001 - headers of a type that can be read and not written
        return False
