"""The double that stands for RabbitMQ and SQS in these tests keeps the promises of a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.unit.gateway.carrier import Exchange

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock, SystemClock
from glowplug.errors import Unreachable
from glowplug.testing.brokers import CarrierSuite


class TestTheDouble(CarrierSuite):
    @pytest.fixture
    def exchange(self) -> Exchange:
        return Exchange()

    @pytest.fixture
    async def broker(self, exchange: Exchange, clock: Clock) -> AsyncIterator[Broker]:
        async with exchange.broker(clock) as made:
            yield made

    @pytest.fixture
    def another(self, exchange: Exchange, clock: Clock) -> Callable[[], Broker]:
        return lambda: exchange.broker(clock)

    @pytest.fixture
    def buried(self, exchange: Exchange) -> Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]:
        async def read(model: str) -> Sequence[Mapping[str, Any]]:
            return exchange.letters[model]

        return read


HINTS = [Hint(str(number), "m.a") for number in range(10)]


async def test_it_repeats_loses_and_reorders_when_told_to() -> None:
    exchange = Exchange(copies=3, loses=5, shuffles=True)
    async with exchange.broker(SystemClock()) as broker:
        await broker.publish(HINTS)
        broker.want({"m": 100})
        ids = [arrival.hint.job_id for arrival in broker.take({"m": 100})]
    assert sorted(ids) == sorted([str(number) for number in range(10) if number not in (4, 9)] * 3)
    assert ids != sorted(ids)


async def test_what_was_taken_before_it_went_away_comes_again() -> None:
    exchange = Exchange()
    async with exchange.broker(SystemClock()) as broker:
        await broker.publish(HINTS[:2])
        broker.want({"m": 2})
        taken = broker.take({"m": 1})
        exchange.go()
        with pytest.raises(Unreachable):
            await broker.publish(HINTS)
        await broker.acknowledge(taken)
        exchange.come()
        assert {arrival.hint.job_id for arrival in broker.take({"m": 9})} == {"0", "1"}
