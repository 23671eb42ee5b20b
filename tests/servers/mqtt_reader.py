"""Somebody who subscribes to topics, and remembers what came, in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
from aiomqtt.message import Message
from tests.servers.mosquitto import PASSWORD, READER, MosquittoServer

from glowplug.lifecycle import cancel


class MqttReader:
    """Reads until the end of the block."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._news = asyncio.Event()

    def of(self, topic: str) -> list[bytes]:
        """Return the bodies that came on a topic."""
        return [bytes(one.payload) for one in self.messages if one.topic.value == topic]

    def events(self, topic: str) -> list[dict[str, Any]]:
        """Return the bodies that came on a topic, which are JSON."""
        return [json.loads(body) for body in self.of(topic)]

    async def until(self, condition: Callable[[MqttReader], Any]) -> None:
        """Wait until what came is enough."""
        try:
            async with asyncio.timeout(20):
                while not condition(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            seen = [(one.topic.value, bytes(one.payload)[:200]) for one in self.messages]
            raise AssertionError(f"only these came: {seen}") from None

    async def read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self.messages.append(message)
            self._news.set()


@asynccontextmanager
async def reading(server: MosquittoServer, *topics: str) -> AsyncIterator[MqttReader]:
    """Subscribe to topics until the block ends."""
    client = aiomqtt.Client(
        "127.0.0.1", server.port, username=READER, password=PASSWORD, protocol=aiomqtt.ProtocolVersion.V5
    )
    reader = MqttReader()
    async with client:
        task = asyncio.create_task(reader.read(client))
        try:
            await client.subscribe([(topic, 1) for topic in topics])
            yield reader
        finally:
            await cancel(task)
