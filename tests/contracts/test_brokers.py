"""Every broker keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from glowplug.broker import Broker
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import ManualClock
from glowplug.testing.brokers import BrokerSuite


class TestRowsBroker(BrokerSuite):
    @pytest.fixture
    async def broker(self, clock: ManualClock) -> AsyncIterator[Broker]:
        broker = RowsBroker(clock=clock)
        async with broker:
            yield broker

    async def test_nothing_is_kept_of_waits_that_are_over(self, clock: ManualClock) -> None:
        broker = RowsBroker(clock=clock)
        for number in range(10):
            assert not await broker.wait([f"m.{number}", f"m.{number}"], since=broker.mark(), timeout_seconds=0)
        assert broker._waiting == {}
