"""Every store keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from glowplug.clock import ManualClock
from glowplug.store import Store
from glowplug.stores.memory import MemoryStore
from glowplug.stores.sql import SqlStore
from glowplug.testing.stores import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    async def store(self, clock: ManualClock) -> AsyncIterator[Store]:
        store = MemoryStore(clock=clock)
        async with store:
            yield store


class TestSqlite(StoreSuite):
    @pytest.fixture
    async def store(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Store]:
        store = SqlStore(f"sqlite:///{tmp_path}/glowplug.db", clock=clock)
        async with store:
            yield store
