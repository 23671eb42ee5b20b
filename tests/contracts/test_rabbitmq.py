"""The broker on RabbitMQ keeps the contract, and comes through what a real server does to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aio_pika
import pytest
from tests.servers.rabbitmq import RabbitServer, rabbitmq, vhost

from glowplug.broker import Broker
from glowplug.brokers.rabbitmq import RabbitBroker
from glowplug.clock import Clock
from glowplug.testing.brokers import CarrierSuite

__all__ = ["rabbitmq", "vhost"]


class TestRabbitBroker(CarrierSuite):
    @pytest.fixture
    def another(self, rabbitmq: RabbitServer, vhost: str, clock: Clock) -> Callable[[], Broker]:
        return lambda: RabbitBroker(rabbitmq.url(vhost), clock=clock)

    @pytest.fixture
    async def broker(self, another: Callable[[], RabbitBroker]) -> AsyncIterator[Broker]:
        async with another() as broker:
            await broker._publishing.wait_connected()
            yield broker

    @pytest.fixture
    def buried(self, rabbitmq: RabbitServer, vhost: str) -> Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]:
        async def read(model: str) -> Sequence[Mapping[str, Any]]:
            return [json.loads(message.body) for message in await dead_letters(rabbitmq.url(vhost), model)]

        return read


async def dead_letters(url: str, model: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Read all dead letters of a model."""
    found = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(f"glowplug.{model}.dlq")
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(message)
    return found
