"""What lanes need of a database: connections, what its errors mean, and whether a lost commit was made after all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from glowplug.errors import GlowplugError
from glowplug.job import Job
from glowplug.store import News

WRITTEN = "glowplug_written"


class Fault(Enum):
    """What an error says of the transaction that met it."""

    OWN = "own"  # the operation is to blame, or nobody can help
    UNDONE = "undone"  # taken back because of others: run again, it may well pass
    LOST = "lost"  # the connection is gone, and what it had not committed with it


class Database(ABC):
    """One database. Its defaults are those of a file that this process alone writes.

    `patience_seconds` is how long orders wait for an outage to end before they are refused, and `answer_seconds` how
    long a transaction may take before its connection is cut (None: for ever). `savepoints` says whether each operation
    of a group gets one; without, a group of which one operation fails is run again, one by one.
    """

    shared: ClassVar[bool] = False
    readers: ClassVar[int] = 2
    savepoints: ClassVar[bool] = True
    patience_seconds: ClassVar[float] = 0.0
    answer_seconds: ClassVar[float | None] = None
    migrates_itself: ClassVar[bool] = True

    @abstractmethod
    def prepare(self) -> None:
        """Do what must be done before the first connection. Raises `SettingsError`."""

    def exists(self) -> bool:
        """Say whether there is anything to connect to."""
        return True

    @abstractmethod
    def connect(self, *, writes: bool) -> Connection:
        """Open a connection for the calling thread. Raises an error of ours: `Unreachable` where waiting may help."""

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[Connection]:
        """Open a connection for one transaction, outside of all lanes. Raises errors of ours alone."""
        try:
            with self.connect(writes=writes) as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            raise self.translate(error) from error

    @abstractmethod
    def translate(self, error: BaseException) -> GlowplugError:
        """Return the error of ours that a foreign one stands for."""

    def fault(self, error: BaseException) -> Fault:
        """Say what an error means for its transaction."""
        del error
        return Fault.OWN

    def receipt(self, connection: Connection) -> str | None:
        """Return what `was_committed` can be asked with, before a commit; None if nothing was written."""
        del connection
        return None

    def was_committed(self, connection: Connection, receipt: str) -> bool | None:
        """Say whether a commit whose answer was lost has been made; None if it cannot be known."""
        del connection, receipt
        return None

    def cut(self, connection: Connection) -> None:
        """Break a connection that another thread waits on, so that the wait ends."""
        del connection

    def lock_schema(self, connection: Connection) -> None:
        """Let nobody else look at or change the schema until the transaction ends."""
        del connection


def note_written(connection: Connection, jobs: Iterable[Job]) -> None:
    """Remember which jobs a transaction writes, where somebody wants to know."""
    written: list[News] | None = connection.info.get(WRITTEN)
    if written is not None:
        written.extend(News(job.id, job.task) for job in jobs)


def take_written(connection: Connection) -> list[News]:
    """Return what was noted since the last call."""
    written: list[News] = connection.info.get(WRITTEN) or []
    taken, written[:] = list(written), []
    return taken
