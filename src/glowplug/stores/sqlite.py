"""What is special about SQLite: its file, its pragmas, how a transaction begins, and what its errors mean."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from glowplug.errors import (
    BugError,
    Corrupt,
    DiskFull,
    GlowplugError,
    InvalidInput,
    SettingsError,
    TooLarge,
    Unreachable,
)
from glowplug.stores.database import Database

BUSY_TIMEOUT_SECONDS = 5.0
SPARE_BYTES = 1 << 20
WRITES = "glowplug_writes"

# FULL: a commit that has returned survives a power cut. The cache and the log's size are a trade of memory and disk
# for speed with a million rows.
_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-32768",
    "PRAGMA journal_size_limit=67108864",
)


class SqliteDatabase(Database):
    """One database file: hands out connections and translates errors. One writer, and readers beside it on the log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: Engine | None = None

    def prepare(self) -> None:
        """Create the file, readable by its owner alone, if it is not there. Raises `SettingsError`."""
        try:
            self.path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull(f"no room to create {self.path}: free some space and try again") from error
            raise SettingsError(f"cannot create {self.path}: {error.strerror}") from error

    def exists(self) -> bool:
        """Say whether the file is there."""
        return self.path.exists()

    def connect(self, *, writes: bool) -> Connection:
        """Open a connection for the calling thread; one that writes takes the write lock as each transaction begins.

        Raises:
            Corrupt: the file is damaged, or no database.
            SettingsError: it cannot be opened.
            Unreachable: another program holds it.
        """
        if self._engine is None:
            self._engine = self._create_engine()
        try:
            return self._engine.connect().execution_options(**{WRITES: writes})
        except (DBAPIError, sqlite3.Error) as error:
            raise self.translate(error) from error

    def _create_engine(self) -> Engine:
        url = URL.create("sqlite", database=os.fspath(self.path))
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine

    def translate(self, error: BaseException) -> GlowplugError:
        """Return the error of ours that says what happened and what to do."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, UnicodeEncodeError):
            return InvalidInput(f"not Unicode text: {cause.reason}")
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._corrupt(cause)
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._disk_is_full()):
            return DiskFull(f"no room to write to {self.path}: free some space and try again")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unreachable(f"{self.path} is locked by another program for more than {BUSY_TIMEOUT_SECONDS:g} s")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
            return SettingsError(
                f"cannot use {self.path} ({cause}): its folder must exist and be writable for this user"
            )
        if code == sqlite3.SQLITE_TOOBIG or isinstance(cause, OverflowError):
            return TooLarge("a value is larger than the database can hold")
        if code == sqlite3.SQLITE_IOERR:
            return Unreachable(f"the disk below {self.path} failed: {cause}")
        return BugError(f"an operation on {self.path} failed: {cause!r}")

    def _disk_is_full(self) -> bool:
        with suppress(OSError):
            return shutil.disk_usage(self.path.parent).free < SPARE_BYTES
        return False

    def _corrupt(self, cause: object) -> Corrupt:
        return Corrupt(
            f"{self.path} is damaged ({cause}): stop Glowplug and put a backup in its place, or move it away with its "
            "-wal and -shm files to begin anew; `sqlite3 FILE .recover` may save the rows"
        )


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    # The driver must not begin transactions by itself: `_on_begin` does, and says which kind.
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise SettingsError("the database needs a local disk: this file system has no shared memory for its log")
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
