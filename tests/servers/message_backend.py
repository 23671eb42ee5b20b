"""A backend that speaks RabbitMQ and nothing else: what the message door has at its other end."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

PATIENCE_SECONDS = 40.0
KINDS = ("train", "convert", "infer")


class MessageBackend:
    """Sends requests, and hears what comes back; `connect` may be awaited again after the broker was away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._inboxes: defaultdict[str, asyncio.Queue[AbstractIncomingMessage]] = defaultdict(asyncio.Queue)
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aio_pika.abc.AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect, and consume every update and result queue."""
        self._connection = await aio_pika.connect(self._url)
        self._channel = await self._connection.channel()
        for kind in KINDS:
            for name in (f"{kind}_request_q", f"{kind}_update_q", f"{kind}_result_q"):
                queue = await self._channel.declare_queue(name, durable=True)
                if not name.endswith("_request_q"):
                    await queue.consume(self._inboxes[name].put)

    async def disconnect(self) -> None:
        """Leave; what was heard is kept."""
        if self._connection is not None:
            with suppress(Exception):
                await self._connection.close()

    async def listen(self, queue: str) -> None:
        """Consume one more queue, such as one of dead letters."""
        assert self._channel is not None
        found = await self._channel.declare_queue(queue, durable=True)
        await found.consume(self._inboxes[queue].put)

    async def ask(self, kind: str, body: Any, **properties: Any) -> None:
        """Send a request; it is durable when this returns."""
        assert self._channel is not None
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(raw, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
        await self._channel.default_exchange.publish(message, f"{kind}_request_q")

    async def message(self, queue: str) -> AbstractIncomingMessage:
        """Return the next message of a queue, acknowledged."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self._inboxes[queue].get()
        with suppress(Exception):
            await message.ack()
        return message

    async def heard(self, queue: str) -> dict[str, Any]:
        """Return the body of the next message of a queue."""
        body: dict[str, Any] = json.loads((await self.message(queue)).body)
        return body

    async def result(self, kind: str) -> dict[str, Any]:
        """Return the next result."""
        return await self.heard(f"{kind}_result_q")

    def updates(self, kind: str) -> list[dict[str, Any]]:
        """Return the updates that have come and nobody looked at."""
        inbox, found = self._inboxes[f"{kind}_update_q"], []
        while not inbox.empty():
            found.append(json.loads(inbox.get_nowait().body))
        return found

    def silent(self, queue: str) -> bool:
        """Say whether nothing has come on a queue that nobody looked at."""
        return self._inboxes[queue].empty()
