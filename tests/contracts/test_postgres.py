"""PostgreSQL keeps the contract of stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.servers.postgres import PostgresServer, database, postgres

from glowplug.clock import ManualClock
from glowplug.store import Store
from glowplug.stores.sql import SqlStore
from glowplug.testing.stores import StoreSuite

__all__ = ["database", "postgres"]


@pytest.fixture(scope="module")
def address(postgres: PostgresServer) -> str:
    """A database that the suite's tests use one after the other."""
    return postgres.new_database()


class TestPostgres(StoreSuite):
    @pytest.fixture
    async def store(self, clock: ManualClock, address: str, postgres: PostgresServer) -> AsyncIterator[Store]:
        store = SqlStore(address, clock=clock, server_time=False)
        async with store:
            yield store
        postgres.empty(address)
