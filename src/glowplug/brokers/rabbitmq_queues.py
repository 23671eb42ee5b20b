"""The queues on RabbitMQ: a durable quorum queue of hints and one of dead letters for each model, made on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiormq

from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import Unreachable

ANSWER_SECONDS = 30.0
# Hints go back often while models come and go, and that says nothing against them.
DELIVERY_LIMIT = 100


class RabbitQueues:
    """Knows the names, and which queues were made. Needs RabbitMQ 3.10 or later."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made: set[str] = set()

    def hints(self, model: str) -> str:
        """Return the name of a model's queue of hints."""
        return f"{self._prefix}.{model}"

    def dead_letters(self, model: str) -> str:
        """Return the name of the queue for what failed, and for what is no hint."""
        return f"{self._prefix}.{model}.dlq"

    def forget(self, model: str | None = None) -> None:
        """Look again before the next use whether the queues of `model`, or all of them, are there."""
        if model is None:
            self._made.clear()
        self._made.discard(model or "")

    async def ensure(self, connection: AmqpConnection, model: str) -> None:
        """Make the queues of a model if they are not there. Raises `Unreachable`, also for a queue of another kind."""
        if model in self._made:
            return
        hints, dead = self.hints(model), self.dead_letters(model)
        await self._declare(connection, dead, {"x-queue-type": "quorum"})
        await self._declare(connection, hints, hint_arguments(dead))
        self._made.add(model)

    async def waiting(self, connection: AmqpConnection, model: str) -> int:
        """Return how many hints nobody holds; none for a queue that is not there."""
        channel = await connection.channel(confirms=False)
        try:
            with connection.speaking():
                async with asyncio.timeout(ANSWER_SECONDS):
                    found = await (await channel.get_underlay_channel()).queue_declare(self.hints(model), passive=True)
                    await channel.close()
        except Unreachable as error:
            if isinstance(error.__cause__, aiormq.exceptions.ChannelNotFoundEntity):
                self.forget(model)
                return 0
            raise
        return int(found.message_count or 0)

    async def _declare(self, connection: AmqpConnection, queue: str, arguments: Mapping[str, Any]) -> None:
        # On a channel of its own, since the server closes it when it refuses.
        channel = await connection.channel(confirms=False)
        try:
            with connection.speaking():
                async with asyncio.timeout(ANSWER_SECONDS):
                    underlay = await channel.get_underlay_channel()
                    await underlay.queue_declare(queue, durable=True, arguments=dict(arguments))
                    await channel.close()
        except Unreachable as error:
            raise Unreachable(_refusal(queue, error)) from error


def hint_arguments(dead_letters: str) -> dict[str, Any]:
    """Return the arguments of a queue of hints: what was handed out too often is kept, and never lost on the way."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letters,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _refusal(queue: str, error: Unreachable) -> str:
    cause = error.__cause__
    if isinstance(cause, aiormq.exceptions.ChannelPreconditionFailed):
        return (
            f"queue {queue!r} was declared with other arguments ({cause}): delete it (rabbitmqctl delete_queue {queue})"
            " or choose another prefix; no job is lost, hints are sent again from the store"
        )
    if isinstance(cause, aiormq.exceptions.ChannelAccessRefused):
        return f"the login may not configure, write and read queue {queue!r} ({cause}): rabbitmqctl set_permissions"
    return error.message
