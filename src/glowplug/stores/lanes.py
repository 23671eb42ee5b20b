"""Lanes: threads that run database operations for an event loop, one connection to a thread.

The writer's lane commits in groups: operations that wait while a commit is under way share the next one, each behind a
savepoint of its own, so that one that fails harms none of the others. Nothing is answered before the commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from glowplug.errors import GlowplugError, Unreachable
from glowplug.events import emit
from glowplug.lifecycle import Startable

T = TypeVar("T")
Operation = Callable[[Connection], T]
GROUP_LIMIT = 64


class Database(Protocol):
    """What a lane needs of a database."""

    def connect(self, *, writes: bool) -> Connection:
        """Open a connection for the calling thread."""

    def translate(self, error: DBAPIError) -> GlowplugError:
        """Return the error of ours that a foreign one stands for."""


@dataclass(frozen=True, slots=True)
class Order:
    """An operation and the future that waits for its answer."""

    operation: Operation[Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order: a value, or an error if there is one."""

    order: Order
    value: Any = None
    error: BaseException | None = None


class Lane(Startable):
    """Threads that take orders from one queue; `writes` makes it the writer's, which then has one thread."""

    def __init__(self, database: Database, *, writes: bool, threads: int = 1) -> None:
        self._database = database
        self._writes = writes
        self._size = threads
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction and return its answer once that has been committed."""
        if not self.started or self._loop is None:
            raise Unreachable("the store is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        self._orders.put(Order(operation, future))
        return await future

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        opened = [self._loop.create_future() for _ in range(self._size)]
        self._threads = [
            threading.Thread(target=self._serve, args=(future,), name="glowplug-store", daemon=True)
            for future in opened
        ]
        for thread in self._threads:
            thread.start()
        await asyncio.gather(*opened)

    async def _stop(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._threads = []

    def _serve(self, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._database.connect(writes=self._writes)
        except DBAPIError as error:
            self._tell([Answer(Order(_nothing, opened), error=self._translated(error))])
            return
        with connection:
            self._tell([Answer(Order(_nothing, opened))])
            while orders := self._take():
                self._tell(self._commit_together(connection, orders))

    def _take(self) -> list[Order]:
        """Wait for an order and take what else is there already; an empty list is the end."""
        orders: list[Order] = []
        order = self._orders.get()
        while order is not None:
            orders.append(order)
            if not self._writes or len(orders) == GROUP_LIMIT or self._orders.empty():
                return orders
            order = self._orders.get()
        if orders:
            self._orders.put(None)
        return orders

    def _commit_together(self, connection: Connection, orders: Sequence[Order]) -> list[Answer]:
        try:
            with connection.begin():
                answers = [_attempt(connection, order) for order in orders]
        except DBAPIError as error:
            failure = self._translated(error)
            return [Answer(order, error=failure) for order in orders]
        return [self._readable(answer) for answer in answers]

    def _readable(self, answer: Answer) -> Answer:
        if isinstance(answer.error, DBAPIError):
            return Answer(answer.order, error=self._translated(answer.error))
        return answer

    def _translated(self, error: DBAPIError) -> GlowplugError:
        failure = self._database.translate(error)
        failure.__cause__ = error
        emit("store.failed", error=failure.message)
        return failure

    def _tell(self, answers: Sequence[Answer]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, answers)


def _nothing(_: Connection) -> None:
    """Stand in for the operation of an order that only reports."""


def _attempt(connection: Connection, order: Order) -> Answer:
    connection.exec_driver_sql("SAVEPOINT attempt")
    try:
        answer = Answer(order, order.operation(connection))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever gave the order
        # Where the database has already rolled everything back, this raises, and the whole group fails.
        connection.exec_driver_sql("ROLLBACK TO attempt")
        answer = Answer(order, error=error)
    connection.exec_driver_sql("RELEASE attempt")
    return answer


def _deliver(answers: Sequence[Answer]) -> None:
    for answer in answers:
        if answer.order.future.done():
            continue
        if answer.error is not None:
            answer.order.future.set_exception(answer.error)
        else:
            answer.order.future.set_result(answer.value)
