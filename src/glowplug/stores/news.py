"""News between gateways on one database: which jobs somebody wrote, by LISTEN and NOTIFY on a connection of its own.

To notify takes a lock that holds up every other session that does, so that it is done outside the transactions that
write: what was committed is gathered, and told in one short transaction that waits for no disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from glowplug.lifecycle import Startable, in_thread
from glowplug.store import News
from glowplug.stores.database import Database

CHANNEL = "glowplug"
GATHER_SECONDS = 0.05
MOST_WAITING = 500
# PostgreSQL takes less than 8000 bytes.
PAYLOAD_BYTES = 7000
LONGEST_REST_SECONDS = 2.0
STOP_SECONDS = 2.0
_LISTEN = f"LISTEN {CHANNEL}"
_NOTIFY = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"


class NewsWire(Startable):
    """Tells other gateways what this one wrote, and a listener what they did; while it cannot, news are lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._origin = secrets.token_hex(4)
        self._listener: Callable[[Sequence[News]], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, str] = {}
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._bell: tuple[int, int] = (-1, -1)

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        """Let `listener` hear, in the loop of `start`, what other gateways wrote."""
        self._listener = listener

    def tell(self, written: Sequence[News]) -> None:
        """Tell the others of jobs that were written; safe in any thread, and never waits."""
        if not written:
            return
        with self._lock:
            first = not self._waiting
            for news in written:
                # Of the many, those of a task that nobody has heard of matter most: its waiters sleep.
                if len(self._waiting) < MOST_WAITING or news.task not in self._waiting.values():
                    self._waiting[news.job_id] = news.task
        if first:
            self._ring()

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending.clear()
        self._waiting.clear()
        self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        opened = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="glowplug-news", daemon=True)
        self._thread.start()
        await in_thread(None, opened.wait)

    async def _stop(self) -> None:
        self._ending.set()
        self._ring()
        if self._thread is not None:
            await in_thread(None, self._thread.join, STOP_SECONDS)
            if self._thread.is_alive() and self._connection is not None:
                self._database.cut(self._connection)
                await in_thread(None, self._thread.join)
            self._thread = None
        bell, self._bell = self._bell, (-1, -1)
        for end in bell:
            with suppress(OSError):
                os.close(end)

    def _ring(self) -> None:
        with suppress(OSError):
            os.write(self._bell[1], b"!")

    def _serve(self, opened: threading.Event) -> None:
        rest = GATHER_SECONDS
        while not self._ending.is_set():
            try:
                with self._database.connect(writes=True) as connection:
                    self._connection = connection
                    listening = self._open(connection)
                    opened.set()
                    rest = GATHER_SECONDS
                    self._exchange(listening)
            except Exception:  # noqa: BLE001 - whoever waits for news looks by itself too; a lane says what is wrong
                opened.set()
                self._ending.wait(rest)
                rest = min(rest * 2, LONGEST_REST_SECONDS)

    def _open(self, connection: Connection) -> Any:
        driver: Any = connection.connection.driver_connection
        driver.rollback()
        driver.autocommit = True
        driver.execute("SET synchronous_commit = off")
        if self._listener is not None:
            driver.execute(_LISTEN)
        return driver

    def _exchange(self, driver: Any) -> None:
        told_at = 0.0
        while not self._ending.is_set():
            pause = max(0.0, told_at + GATHER_SECONDS - time.monotonic()) if self._waiting else None
            heard, _, _ = select.select([driver.fileno(), self._bell[0]], [], [], pause)
            self._silence()
            if driver.fileno() in heard:
                self._hear(driver)
            if self._waiting and time.monotonic() >= told_at + GATHER_SECONDS:
                driver.execute(_NOTIFY, [CHANNEL, list(payloads(self._origin, self._take()))])
                told_at = time.monotonic()
                # What came with the answer is in the driver's hands already, and wakes nobody.
                self._hear(driver)

    def _silence(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._bell[0], 64):
                pass

    def _take(self) -> dict[str, str]:
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken

    def _hear(self, driver: Any) -> None:
        heard = [news for notice in driver.notifies(timeout=0) for news in self._read(notice.payload)]
        if heard and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, heard)

    def _read(self, payload: str) -> Iterable[News]:
        try:
            origin, told = json.loads(payload)
            return [] if origin == self._origin else [News(str(job_id), str(task)) for job_id, task in told]
        except (ValueError, TypeError):
            return []

    def _deliver(self, heard: Sequence[News]) -> None:
        if self._listener is not None and self.started:
            self._listener(heard)


def payloads(origin: str, told: dict[str, str]) -> Iterator[str]:
    """Yield messages that name the jobs of `told` and their tasks, each of a size that one notification may have."""
    message: list[tuple[str, str]] = []
    size = 0
    for pair in told.items():
        length = len(json.dumps(pair))
        if message and size + length > PAYLOAD_BYTES:
            yield json.dumps([origin, message])
            message, size = [], 0
        message.append(pair)
        size += length + 2
    if message:
        yield json.dumps([origin, message])
