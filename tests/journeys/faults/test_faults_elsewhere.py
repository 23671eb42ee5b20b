"""The core of the fault suite on every other pair that is supported."""

from __future__ import annotations

import pytest
from tests.journeys.faults.core import CoreFaults
from tests.journeys.faults.grounds import Ground
from tests.journeys.faults.pairs import RowsBroker, on_mongo, on_postgres, on_rabbitmq, on_sqlite, on_sqs, pair
from tests.servers.mongod import MongodServer, mongod
from tests.servers.moto import MotoServer, moto
from tests.servers.postgres import PostgresServer, postgres
from tests.servers.rabbitmq import RabbitServer, rabbitmq

__all__ = ["mongod", "moto", "postgres", "rabbitmq"]
pytestmark = pytest.mark.chaos


class TestSqliteAndRabbit(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitServer) -> Ground:
        return pair(on_sqlite(tmp_path_factory.mktemp("store")), on_rabbitmq(rabbitmq))


class TestSqliteAndSqs(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, tmp_path_factory: pytest.TempPathFactory, moto: MotoServer) -> Ground:
        return pair(on_sqlite(tmp_path_factory.mktemp("store")), on_sqs(moto))


class TestPostgresAndRows(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, postgres: PostgresServer) -> Ground:
        return pair(on_postgres(postgres), RowsBroker())


class TestPostgresAndSqs(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, postgres: PostgresServer, moto: MotoServer) -> Ground:
        return pair(on_postgres(postgres), on_sqs(moto))


class TestMongoAndRows(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, mongod: MongodServer) -> Ground:
        return pair(on_mongo(mongod), RowsBroker())


class TestMongoAndRabbit(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, mongod: MongodServer, rabbitmq: RabbitServer) -> Ground:
        return pair(on_mongo(mongod), on_rabbitmq(rabbitmq))


class TestMongoAndSqs(CoreFaults):
    @pytest.fixture(scope="class")
    @classmethod
    def ground(cls, mongod: MongodServer, moto: MotoServer) -> Ground:
        return pair(on_mongo(mongod), on_sqs(moto))
