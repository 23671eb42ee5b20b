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

from glowplug.errors import GlowplugError, Unreachable, UserError
from glowplug.events import emit
from glowplug.lifecycle import Startable, in_thread

T = TypeVar("T")
Operation = Callable[[Connection], T]
GROUP_LIMIT = 64


class Database(Protocol):
    """What a lane needs of a database."""

    def connect(self, *, writes: bool) -> Connection:
        """Open a connection for the calling thread. Raises an error of ours."""

    def translate(self, error: BaseException) -> GlowplugError:
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
        self._said = ""

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
            await in_thread(None, thread.join)
        self._threads = []

    def _serve(self, opened: asyncio.Future[None]) -> None:
        opening = Order(_nothing, opened)
        try:
            connection = self._database.connect(writes=self._writes)
        except Exception as error:  # noqa: BLE001 - whoever awaits the start gets it
            self._tell([Answer(opening, error=error)])
            return
        with connection:
            self._tell([Answer(opening)])
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
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever an order does
            answers = [Answer(order, error=error) for order in orders]
            # A commit that failed may have left its transaction open: the next group begins on a connection of its own.
            connection.invalidate()
        return [self._translated(answer) for answer in answers]

    def _translated(self, answer: Answer) -> Answer:
        if answer.error is None or isinstance(answer.error, GlowplugError):
            return answer
        failure = self._database.translate(answer.error)
        failure.__cause__ = answer.error
        if failure.message != self._said and not isinstance(failure, UserError):
            emit("store.failed", error=failure.message)
        self._said = failure.message
        return Answer(answer.order, error=failure)

    def _tell(self, answers: Sequence[Answer]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, answers)


def _nothing(_: Connection) -> None:
    """Stand in for the operation of an order that only reports."""


def _attempt(connection: Connection, order: Order) -> Answer:
    if order.future.cancelled():
        return Answer(order)
    connection.exec_driver_sql("SAVEPOINT attempt")
    try:
        answer = Answer(order, order.operation(connection))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever gave the order
        _roll_back(connection, error)
        answer = Answer(order, error=error)
    connection.exec_driver_sql("RELEASE attempt")
    return answer


def _roll_back(connection: Connection, error: Exception) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK TO attempt")
    except DBAPIError:
        # The database has rolled everything back by itself, as SQLite does on a full disk: the whole group has failed.
        raise error from error.__cause__


def _deliver(answers: Sequence[Answer]) -> None:
    for answer in answers:
        if answer.order.future.done():
            continue
        if answer.error is not None:
            answer.order.future.set_exception(answer.error)
        else:
            answer.order.future.set_result(answer.value)
