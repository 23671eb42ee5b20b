"""The whole fault suite on the embedded default and on the pair that production runs on."""

from __future__ import annotations

import pytest
from tests.journeys.faults.carried import CarriedFaults
from tests.journeys.faults.full import FullFaults
from tests.journeys.faults.grounds import Ground
from tests.journeys.faults.pairs import RowsBroker, on_postgres, on_rabbitmq, on_sqlite, pair
from tests.servers.postgres import PostgresServer, postgres
from tests.servers.rabbitmq import RabbitServer, rabbitmq

__all__ = ["postgres", "rabbitmq"]


class TestSqliteAndRows(FullFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, tmp_path_factory: pytest.TempPathFactory) -> Ground:
        return pair(on_sqlite(tmp_path_factory.mktemp("store")), RowsBroker())


class TestPostgresAndRabbit(CarriedFaults, FullFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, postgres: PostgresServer, rabbitmq: RabbitServer) -> Ground:
        return pair(on_postgres(postgres), on_rabbitmq(rabbitmq))
