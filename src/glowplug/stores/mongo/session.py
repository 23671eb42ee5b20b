"""One life of the store: the client, and the parts that ask through it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

from glowplug.clock import Clock
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel
from glowplug.stores.mongo.address import MongoAddress
from glowplug.stores.mongo.changes import Changes
from glowplug.stores.mongo.connection import hello, open_client
from glowplug.stores.mongo.deliveries import Deliveries
from glowplug.stores.mongo.news import Listener, NewsStream
from glowplug.stores.mongo.queue import Queue
from glowplug.stores.mongo.reads import Reads
from glowplug.stores.mongo.registry import Registry
from glowplug.stores.mongo.rooms import Rooms, ensure_schema
from glowplug.stores.mongo.server_time import ASK_AGAIN_SECONDS, MongoTime
from glowplug.stores.mongo.submissions import Submissions

A = TypeVar("A")

STANDALONE = (
    "this MongoDB is no replica set: what other gateways write is only seen when somebody looks, and a write cut off "
    "by a lost connection is not repeated; start mongod with --replSet and run rs.initiate() once"
)


class Session(Startable):
    """A connection to the database; its parts may be used once it has started."""

    def __init__(self, address: MongoAddress, clock: Clock, server_time: bool, listeners: Sequence[Listener]) -> None:
        self._address = address
        self._clock = clock
        self._server_time = server_time
        self._listeners = listeners
        self._begun: set[asyncio.Task[Any]] = set()
        self._asking: asyncio.Task[None] | None = None
        self._news: NewsStream | None = None
        self._client = open_client(address)
        self.time = MongoTime(clock, self._ask_time)
        self.rooms = Rooms.of(self._client[address.database])
        self.changes = Changes(self.rooms)
        self.queue = Queue(self.rooms, self.changes)
        self.reads = Reads(self.rooms)
        self.submissions = Submissions(self.rooms, self.changes)
        self.deliveries = Deliveries(self.rooms, self.changes)
        self.registry = Registry(self.rooms)

    def now(self) -> datetime:
        """Return the server's time."""
        return self.time.now()

    async def _start(self) -> None:
        server = await hello(self._client)
        await ensure_schema(self._client[self._address.database], self.rooms)
        if self._server_time:
            await self.time.measure()
            self._asking = asyncio.create_task(self._ask_now_and_then())
        if not server.has_stream:
            emit("store.limited", store=self._address.shown, advice=STANDALONE)
        elif self._listeners:
            self._news = NewsStream(self.rooms.jobs, self._listeners, self._clock)
            await self._news.start()

    async def _stop(self) -> None:
        if self._news is not None:
            await self._news.stop()
        await cancel(self._asking)
        if self._begun:
            await asyncio.wait(self._begun)
        await self._client.close()

    async def _ask_time(self) -> datetime:
        return (await hello(self._client)).time

    async def _ask_now_and_then(self) -> None:
        while True:
            await self._clock.sleep(ASK_AGAIN_SECONDS)
            # While nobody answers, this machine's monotonic clock goes on from the last answer.
            with suppress(PyMongoError):
                await self.to_the_end(self.time.measure())

    async def to_the_end(self, work: Coroutine[Any, Any, A]) -> A:
        """Do work to its end, even if the caller gives up.

        Nothing that waits for the driver is canceled: it would leave a submission half done, a connection behind, and
        while it connects it may lose the cancellation (`asyncio.wait_for` before Python 3.12), and so never end.
        """
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            # Read, so that the error of work whose caller has gone is not reported as lost.
            task.exception()
