"""What is special about PostgreSQL: its address, how a connection is set, and how a lost commit is asked after.

Writers read what is committed and lock what they change; readers see one moment of the database for each operation.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from glowplug.errors import GlowplugError, MissingExtra, SettingsError, Unreachable
from glowplug.stores.database import WRITTEN, Database, Fault
from glowplug.stores.postgres_errors import READ_ONLY, fault_of, translated

SCHEMES = ("postgresql", "postgres")
OLDEST_VERSION = 130000
SCHEMA_LOCK = 0x676C6F77706C7567
RECEIPT_WAIT_SECONDS = 5.0
NOT_A_CHARACTER = "\ufdd0"
_SERVER = "glowplug_server"

# A server that is gone is noticed within a quarter of a minute; the longest statement is shorter than a lease's third.
_CONNECT_OPTIONS = {
    "application_name": "glowplug",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
# A connection that is given up is closed, whatever state it is in: nothing of it need be put right first.
_ENGINE_OPTIONS: dict[str, Any] = {"poolclass": NullPool, "pool_reset_on_return": None, "use_native_hstore": False}
# A frozen gateway must not hold its rows for ever, nor a slow plan a lane; compiling a plan takes longer than it saves.
# Every question has an index that has its order: a planner without statistics, as after a rush of jobs, may not guess
# that to sort is cheaper. Durability may be asked for more strictly by the server, and never less.
_SET_UP = """
SELECT set_config('enable_sort', 'off', false), set_config('enable_seqscan', 'off', false),
  set_config('enable_bitmapscan', 'off', false),
  set_config('statement_timeout', '15s', false), set_config('lock_timeout', '10s', false),
  set_config('idle_in_transaction_session_timeout', '15s', false), set_config('jit', 'off', false),
  set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
    ELSE current_setting('synchronous_commit') END, false),
  current_setting('server_version_num')::int,
  pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool
"""
# Which history the server is in: another one begins when a standby takes over, perhaps without our last commits.
_TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
_RECEIPT = text("SELECT pg_current_xact_id_if_assigned()::text")
_STATUS = text("SELECT pg_xact_status(CAST(:receipt AS xid8))")
_LOCK_SCHEMA = text("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
_ADVISORY_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the database is, and as whom; the password is in `url`, which is never shown."""

    url: URL = field(repr=False)

    @classmethod
    def parse(cls, address: str) -> PostgresAddress:
        """Read `postgresql://user:password@host:port/database?sslmode=…`. Raises `SettingsError`."""
        try:
            url = make_url(address)
        except (ArgumentError, ValueError) as error:
            # The cause would show the address, and so perhaps a password.
            raise _no_address() from (None if isinstance(error, ArgumentError) else error)
        if url.drivername not in SCHEMES or not url.database:
            raise _no_address()
        said = {name: value for name, value in _CONNECT_OPTIONS.items() if name not in url.query}
        return cls(url.set(drivername="postgresql+psycopg").update_query_dict(said))

    @property
    def shown(self) -> str:
        """Return the address for people: without user and password."""
        hosts = self.url.query.get("host", self.url.host or "localhost")
        host = hosts if isinstance(hosts, str) else ",".join(hosts)
        port = f":{self.url.port}" if self.url.port else ""
        return f"{host}{port}/{self.url.database}"


def _no_address() -> SettingsError:
    return SettingsError("not the address of a database: use postgresql://user:password@host:port/database")


class PostgresDatabase(Database):
    """One database on a server that several gateways may share. `on_reader` is called with each reader's connection."""

    shared = True
    readers = 3
    savepoints = False
    patience_seconds = 5.0
    answer_seconds = 20.0
    migrates_itself = False

    def __init__(self, address: PostgresAddress, *, on_reader: Callable[[Connection], None] | None = None) -> None:
        self.address = address
        self._on_reader = on_reader
        self._engine: Engine | None = None

    def prepare(self) -> None:
        """Make ready to connect. Raises `MissingExtra`, `SettingsError` for an address with options of no meaning."""
        if self._engine is not None:
            return
        try:
            engine = create_engine(self.address.url, **_ENGINE_OPTIONS)
        except ModuleNotFoundError as error:
            raise MissingExtra.of("postgres", "a store on PostgreSQL") from error
        event.listen(engine, "connect", _set_up)
        self._engine = engine

    def connect(self, *, writes: bool) -> Connection:
        """Open a connection for the calling thread.

        Raises:
            SettingsError: user, password or database are wrong, or the server is too old.
            Unreachable: the server does not answer, is full, starting, or a standby.
        """
        if self._engine is None:
            self.prepare()
        assert self._engine is not None
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            raise self.translate(error) from error
        try:
            self._check(connection, writes=writes)
            return self._prepared(connection, writes=writes)
        except DBAPIError as error:
            connection.close()
            raise self.translate(error) from error
        except GlowplugError:
            connection.close()
            raise

    def _prepared(self, connection: Connection, *, writes: bool) -> Connection:
        connection.info[WRITTEN] = []
        if writes:
            return connection.execution_options(isolation_level="READ COMMITTED")
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        if self._on_reader is not None:
            with connection.begin():
                self._on_reader(connection)
        return connection

    def _check(self, connection: Connection, *, writes: bool) -> None:
        server: _Server = connection.info[_SERVER]
        if server.version < OLDEST_VERSION:
            raise SettingsError(
                f"PostgreSQL at {self.address.shown} is version {server.version // 10000}: "
                f"Glowplug needs {OLDEST_VERSION // 10000} or newer"
            )
        if writes and server.read_only:
            raise Unreachable(READ_ONLY.format(address=self.address.shown))

    def translate(self, error: BaseException) -> GlowplugError:
        """Return the error of ours that says what happened and what to do."""
        return translated(error, self.address.shown)

    def fault(self, error: BaseException) -> Fault:
        """Say what an error means for its transaction."""
        return fault_of(error)

    def receipt(self, connection: Connection) -> str | None:
        """Return the server's history and the number of the transaction, None if it has written nothing."""
        number: str | None = connection.execute(_RECEIPT).scalar()
        return None if number is None else f"{connection.info[_SERVER].timeline}:{number}"

    def was_committed(self, connection: Connection, receipt: str) -> bool | None:
        """Ask what became of a transaction; wait for a moment if its backend has not noticed that we are gone."""
        timeline, _, number = receipt.partition(":")
        if timeline != connection.info[_SERVER].timeline:
            # There the same number may be another transaction's.
            return None
        deadline = time.monotonic() + RECEIPT_WAIT_SECONDS
        while True:
            status: str | None = connection.execute(_STATUS, {"receipt": number}).scalar()
            if status != "in progress" or time.monotonic() >= deadline:
                return {"committed": True, "aborted": False}.get(status or "")
            time.sleep(0.05)

    def cut(self, connection: Connection) -> None:
        """Shut the socket down under whoever waits on it."""
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    def lock_schema(self, connection: Connection) -> None:
        """Let nobody else look at or change the schema until the transaction ends, however long that takes."""
        connection.execute(_LOCK_SCHEMA)
        connection.execute(_ADVISORY_LOCK, {"key": SCHEMA_LOCK})


def server_now(connection: Connection) -> datetime:
    """Return the server's time."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class _Server:
    """What a connection says of its server."""

    version: int
    read_only: bool
    timeline: str


def _set_up(connection: Any, record: Any) -> None:
    connection.adapters.register_dumper(str, _text_dumper())
    *_, version, read_only = connection.execute(_SET_UP).fetchone()
    connection.commit()
    record.info[_SERVER] = _Server(version, read_only, "" if read_only else _timeline(connection))


def _timeline(connection: Any) -> str:
    try:
        (timeline,) = connection.execute(_TIMELINE).fetchone()
    except Exception:  # noqa: BLE001 - some services keep no log of their own, and so lose nothing when they fail over
        return ""
    else:
        return str(timeline)
    finally:
        connection.rollback()


@cache
def _text_dumper() -> Any:
    from psycopg.types.string import StrDumperUnknown

    class TextDumper(StrDumperUnknown):
        """Lets a text with NUL, which no row can hold, be looked for and not found; requests with one are refused."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\x00", NOT_A_CHARACTER) if "\x00" in obj else obj)

    return TextDumper
