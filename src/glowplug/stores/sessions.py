"""Sessions: what one thread does with its connection. It runs operations in transactions, and outlives the connection.

Operations that wait while a commit is under way share the next one. What a lost connection or a deadlock has taken
back is run again, each operation in a transaction of its own. A commit whose answer was lost is asked after.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Transaction
from sqlalchemy.exc import DBAPIError

from glowplug.errors import GlowplugError, SettingsError, Unreachable
from glowplug.store import News
from glowplug.stores.database import Database, Fault, take_written

T = TypeVar("T")
Operation = Callable[[Connection], T]
TRIES = 8
FIRST_REST_SECONDS = 0.02
LONGEST_REST_SECONDS = 1.0
UNKNOWN = "the connection was lost in a commit, and nobody can say whether it was made: look before you ask again"


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


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without a connection: since when, how often it was tried, when it will be again, and why it fails."""

    began: float
    tries: int
    next_try: float
    error: GlowplugError


class Undone(Exception):
    """Nothing of a group has been kept, and it may be run again. The cause is the error that it met."""


class Session:
    """One thread's connection. In the first moments of an outage orders wait; later they are refused at once.

    `rest` waits for that many seconds, and says whether there is no more reason to wait.
    """

    def __init__(
        self,
        database: Database,
        *,
        writes: bool,
        rest: Callable[[float], bool],
        on_written: Callable[[Sequence[News]], None] | None = None,
    ) -> None:
        self._database = database
        self._writes = writes
        self._rest = rest
        self._on_written = on_written
        self._connection: Connection | None = None
        self._outage: Outage | None = None
        self._began: float | None = None

    def open(self) -> None:
        """Open the connection. Raises an error of ours."""
        self._connection = self._database.connect(writes=self._writes)

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._drop()

    @property
    def rests_seconds(self) -> float | None:
        """Return how long the session leaves a database alone that does not answer; None while it answers."""
        return None if self._outage is None else max(0.0, self._outage.next_try - time.monotonic())

    def look(self) -> None:
        """Try to end the outage, without an order."""
        with suppress(GlowplugError):
            self._connected(patience_seconds=0.0)

    def cut_if_hung(self, limit_seconds: float) -> None:
        """Break the connection if its transaction has taken longer than that; called by another thread."""
        began, connection = self._began, self._connection
        if began is not None and connection is not None and time.monotonic() - began > limit_seconds:
            self._began = None
            with suppress(Exception):
                self._database.cut(connection)

    def run(self, orders: Sequence[Order]) -> list[Answer]:
        """Run orders and commit them; each has its answer, a value or an error."""
        try:
            return self._run(orders)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever an order meets
            self._drop()
            return [Answer(order, error=error) for order in orders]
        finally:
            self._began = None

    def _run(self, orders: Sequence[Order]) -> list[Answer]:
        try:
            return self._together(orders)
        except Undone:
            return [self._alone(order) for order in orders]

    def _alone(self, order: Order) -> Answer:
        error: BaseException | None = None
        for tries in range(TRIES):
            try:
                return self._together([order])[0]
            except Undone as undone:
                error = undone.__cause__
            # Two that have met are not to meet again at the same moment.
            self._rest(random.uniform(0.0, FIRST_REST_SECONDS * tries))  # noqa: S311
        return Answer(order, error=error)

    def _together(self, orders: Sequence[Order]) -> list[Answer]:
        try:
            connection = self._connected(self._database.patience_seconds)
            self._began = time.monotonic()
            transaction = connection.begin()
        except Exception as error:  # noqa: BLE001 - `run` says why
            return self._not_run(orders, error)
        try:
            answers = self._attempt_all(connection, orders)
            receipt = self._database.receipt(connection) if self._writes else None
        except Exception as error:  # noqa: BLE001 - `run` says why
            return self._not_kept(transaction, orders, error)
        try:
            transaction.commit()
        except Exception as error:  # noqa: BLE001 - `run` says why
            return self._asked_after(answers, error, receipt)
        if self._on_written is not None:
            self._on_written(take_written(connection))
        return answers

    def _attempt_all(self, connection: Connection, orders: Sequence[Order]) -> list[Answer]:
        if len(orders) > 1 and self._database.savepoints:
            return [_attempt(connection, order) for order in orders]
        return [Answer(one, None if one.future.cancelled() else one.operation(connection)) for one in orders]

    def _not_run(self, orders: Sequence[Order], error: Exception) -> list[Answer]:
        """Answer for a transaction that did not begin."""
        self._drop()
        if self._database.fault(error) is not Fault.OWN:
            raise Undone from error
        return [Answer(order, error=error) for order in orders]

    def _not_kept(self, transaction: Transaction, orders: Sequence[Order], error: Exception) -> list[Answer]:
        """Answer for a transaction that did not come to its commit."""
        fault = self._database.fault(error)
        # With savepoints an error that comes as far as here has put the whole transaction in doubt.
        if fault is Fault.LOST or (self._database.savepoints and len(orders) > 1) or not self._rolled_back(transaction):
            self._drop()
        if fault is not Fault.OWN or (len(orders) > 1 and not self._database.savepoints):
            raise Undone from error
        return [Answer(order, error=error) for order in orders]

    def _rolled_back(self, transaction: Transaction) -> bool:
        try:
            transaction.rollback()
            if self._connection is not None:
                take_written(self._connection)
        except Exception:  # noqa: BLE001 - the connection is given up, whatever is wrong with it
            return False
        return True

    def _asked_after(self, answers: list[Answer], error: Exception, receipt: str | None) -> list[Answer]:
        """Answer for a commit that failed, or whose answer was lost."""
        self._drop()
        fault = self._database.fault(error)
        if fault is Fault.UNDONE:
            raise Undone from error
        if fault is Fault.OWN:
            return [Answer(answer.order, error=error) for answer in answers]
        committed = self._was_committed(receipt)
        if committed is False:
            raise Undone from error
        if committed:
            return answers
        unknown = Unreachable(UNKNOWN)
        unknown.__cause__ = error
        return [Answer(answer.order, error=unknown) for answer in answers]

    def _was_committed(self, receipt: str | None) -> bool | None:
        if receipt is None:
            # Nothing was written: to run it again does no harm.
            return False
        for _ in range(TRIES):
            try:
                connection = self._connected(self._database.patience_seconds)
                with connection.begin():
                    return self._database.was_committed(connection, receipt)
            except GlowplugError:
                return None
            except DBAPIError:
                self._drop()
        return None

    def _connected(self, patience_seconds: float) -> Connection:
        while self._connection is None:
            self._wait_out(patience_seconds)
            try:
                self._connection = self._database.connect(writes=self._writes)
                self._outage = None
            except (Unreachable, SettingsError) as error:
                # What served once was set rightly: who is told otherwise now meets a server in the midst of a change.
                self._outage = _longer(self._outage, error)
            except GlowplugError as error:
                self._outage = _longer(self._outage, error)
                raise
        return self._connection

    def _wait_out(self, patience_seconds: float) -> None:
        outage, now = self._outage, time.monotonic()
        if outage is None or outage.next_try <= now:
            return
        if now >= outage.began + patience_seconds or self._rest(outage.next_try - now):
            raise Unreachable(outage.error.message) from outage.error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()


def _longer(outage: Outage | None, error: GlowplugError) -> Outage:
    now = time.monotonic()
    tries = 1 if outage is None else outage.tries + 1
    ceiling = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0 ** min(tries, 20))
    # Never less than half of it: many threads and gateways must not fall upon a server that has just come up.
    rest = ceiling * random.uniform(0.5, 1.0)  # noqa: S311
    return Outage(now if outage is None else outage.began, tries, now + rest, error)


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
