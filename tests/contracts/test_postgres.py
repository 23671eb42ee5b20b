"""PostgreSQL keeps the contract of stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.servers.postgres import TRUSTED, PostgresServer, postgres

from glowplug.clock import ManualClock
from glowplug.store import Store
from glowplug.stores import sql
from glowplug.stores.database import Database
from glowplug.stores.postgres import PostgresDatabase
from glowplug.stores.sql import SqlStore, database_of
from glowplug.testing.stores import StoreSuite

__all__ = ["postgres"]


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer) -> Database:
    """A database that the suite's tests use one after the other: statements are compiled once for all of them."""
    return database_of(postgres.new_database(user=TRUSTED))


class TestPostgres(StoreSuite):
    @pytest.fixture
    async def store(
        self, clock: ManualClock, shared: Database, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Store]:
        monkeypatch.setattr(sql, "database_of", lambda *_, **__: shared)
        monkeypatch.setattr(PostgresDatabase, "readers", 1)
        assert isinstance(shared, PostgresDatabase)
        store = SqlStore("postgresql:", clock=clock, server_time=False)
        async with store:
            yield store
        postgres.empty(str(shared.address.url.database))
