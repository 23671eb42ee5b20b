"""PostgreSQL keeps the contract of stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contracts.test_stores_agree import StoresAgree
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


@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.chaos)])
def test_it_answers_as_the_store_in_memory_does(
    examples: int, shared: Database, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AgreesWithMemory(StoresAgree):
        def __init__(self) -> None:
            super().__init__()
            self.stores[1] = SqlStore("postgresql:", clock=self.clock, jitter=lambda: 0.5, server_time=False)

        def teardown(self) -> None:
            super().teardown()
            assert isinstance(shared, PostgresDatabase)
            postgres.empty(str(shared.address.url.database))

    monkeypatch.setattr(sql, "database_of", lambda *_, **__: shared)
    monkeypatch.setattr(PostgresDatabase, "readers", 1)
    asked = settings(max_examples=examples, stateful_step_count=30, deadline=None, database=None)
    run_state_machine_as_test(AgreesWithMemory, settings=asked)
