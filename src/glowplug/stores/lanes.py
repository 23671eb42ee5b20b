"""Lanes: threads that run database operations for an event loop, one connection to a thread.

The writer's lane commits in groups: operations that wait while a commit is under way share the next one. Nothing is
answered before the commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from glowplug.errors import GlowplugError, Unreachable, UserError
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel, in_thread
from glowplug.store import News
from glowplug.stores.database import Database
from glowplug.stores.sessions import Answer, Operation, Order, Session, T

GROUP_LIMIT = 64


class Lane(Startable):
    """Threads that take orders from one queue; `writes` makes it the writers', whose threads take them in groups.

    `on_written` hears in a thread which jobs each commit has written.
    """

    def __init__(
        self,
        database: Database,
        *,
        writes: bool,
        threads: int = 1,
        on_written: Callable[[Sequence[News]], None] | None = None,
    ) -> None:
        self._database = database
        self._writes = writes
        self._size = threads
        self._on_written = on_written
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = threading.Event()
        self._trouble: _Trouble | None = None
        self._sessions: list[Session] = []
        self._watching: asyncio.Task[None] | None = None

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction and return its answer once that has been committed."""
        if not self.started or self._loop is None:
            raise Unreachable("the store is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        self._orders.put(Order(operation, future))
        return await future

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending.clear()
        opened = [self._loop.create_future() for _ in range(self._size)]
        self._threads = [
            threading.Thread(target=self._serve, args=(future,), name="glowplug-store", daemon=True)
            for future in opened
        ]
        for thread in self._threads:
            thread.start()
        await asyncio.gather(*opened)
        if self._database.answer_seconds is not None:
            self._watching = asyncio.create_task(self._watch(self._database.answer_seconds))

    async def _watch(self, limit_seconds: float) -> None:
        """Let no caller wait for ever on a server that keeps its connections and says nothing."""
        while True:
            await asyncio.sleep(limit_seconds / 10)
            for session in self._sessions:
                session.cut_if_hung(limit_seconds)

    async def _stop(self) -> None:
        self._ending.set()
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            await in_thread(None, thread.join)
        self._threads = []
        # To the last: what was ordered before the stop may hang as well.
        await cancel(self._watching)
        self._sessions = []

    def _serve(self, opened: asyncio.Future[None]) -> None:
        opening = Order(_nothing, opened)
        session = Session(self._database, writes=self._writes, rest=self._ending.wait, on_written=self._on_written)
        try:
            session.open()
        except Exception as error:  # noqa: BLE001 - whoever awaits the start gets it
            self._tell([Answer(opening, error=error)])
            return
        self._sessions.append(session)
        self._tell([Answer(opening)])
        while orders := self._take(session):
            self._tell([self._translated(answer) for answer in session.run(orders)])
        session.close()

    def _take(self, session: Session) -> list[Order]:
        """Wait for an order and take what else is there already; an empty list is the end."""
        orders: list[Order] = []
        order = self._first(session)
        while order is not None:
            orders.append(order)
            if not self._writes or len(orders) == GROUP_LIMIT:
                return orders
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return orders
        if orders:
            self._orders.put(None)
        return orders

    def _first(self, session: Session) -> Order | None:
        while session.rests_seconds is not None:
            try:
                return self._orders.get(timeout=session.rests_seconds)
            except queue.Empty:
                session.look()
        return self._orders.get()

    def _translated(self, answer: Answer) -> Answer:
        error = answer.error
        if error is None:
            self._note_success()
            return answer
        failure = error if isinstance(error, GlowplugError) else self._database.translate(error)
        if failure is not error:
            failure.__cause__ = error
        if not isinstance(failure, UserError):
            self._note_failure(failure)
        return Answer(answer.order, error=failure)

    def _note_failure(self, failure: GlowplugError) -> None:
        trouble = self._trouble
        if trouble is None or trouble.message != failure.message:
            emit("store.failed", error=failure.message)
            began = monotonic() if trouble is None else trouble.began
            self._trouble = _Trouble(failure.message, began, isinstance(failure, Unreachable))

    def _note_success(self) -> None:
        trouble = self._trouble
        # An error of one operation says nothing of the next one: only an outage can be over.
        if trouble is not None and trouble.is_outage:
            self._trouble = None
            emit("store.restored", seconds=round(monotonic() - trouble.began, 3))

    def _tell(self, answers: Sequence[Answer]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, answers)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What was said last of a database that fails, and since when it does."""

    message: str
    began: float
    is_outage: bool


def _nothing(_: object) -> None:
    """Stand in for the operation of an order that only reports."""


def _deliver(answers: Sequence[Answer]) -> None:
    for answer in answers:
        if answer.order.future.done():
            continue
        if answer.error is not None:
            answer.order.future.set_exception(answer.error)
        else:
            answer.order.future.set_result(answer.value)
