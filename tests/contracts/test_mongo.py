"""The store on MongoDB keeps the contract: on a real server, which is killed in the middle of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from glowplug.clock import ManualClock
from glowplug.store import Store
from glowplug.stores.mongo import MongoStore
from glowplug.testing.stores import StoreSuite
from tests.servers.mongod import mongo_url, mongod

__all__ = ["mongo_url", "mongod"]


class TestMongo(StoreSuite):
    @pytest.fixture
    async def store(self, clock: ManualClock, mongo_url: str) -> AsyncIterator[Store]:
        async with MongoStore(mongo_url, clock=clock) as store:
            yield store
