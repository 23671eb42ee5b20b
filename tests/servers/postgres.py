"""A private PostgreSQL from the system's package, as a production one is set: every commit is on the disk."""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from tests.servers.kept import kept
from tests.servers.ports import free_port

USER, PASSWORD = "glowplug", "not a secret: /@%"
# Asked for no password, which takes longer to check than most tests to run.
TRUSTED = "trusted"
START_SECONDS = 30.0
_UNPRIVILEGED = "postgres"
_PR_SET_PDEATHSIG = 1
_RUNNING = pytest.StashKey["PostgresServer"]()
# Found before anything forks: between a fork and its exec nothing may be loaded.
_LIBC = ctypes.CDLL(None)

# As in production, but for the room that it takes.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "256MB",
    "max_connections": "60",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
}


class PostgresServer:
    """A server on a port and a folder of its own. It must be launched by the main thread: it dies with that."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        self._programs = programs
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    @property
    def data(self) -> Path:
        """Return the folder of the cluster."""
        return self._folder / "data"

    @property
    def log(self) -> Path:
        """Return the file that the server writes its log to."""
        return self._folder / "log"

    def url(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        """Return the URL of a database, as an operator would write it."""
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection that commits each statement."""
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=database, user=TRUSTED, autocommit=True)

    def new_database(self, *, user: str = USER) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name, user=user)

    def empty(self, database: str) -> None:
        """Delete the rows of a database's tables, which takes less time than to make another one."""
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        with self.connect(database) as connection:
            names = [sql.Identifier(str(name)) for (name,) in connection.execute(tables)]
            for name in names:
                connection.execute(sql.SQL("DELETE FROM {}").format(name))

    def create(self) -> None:
        """Make the cluster."""
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        shutil.chown(secret, *_owner()) if os.geteuid() == 0 else None
        command: list[str | Path] = [self._programs / "initdb", "-D", self.data, "-U", USER, f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS, **_as_unprivileged())
        secret.unlink()
        access = self.data / "pg_hba.conf"
        access.write_text(f"host all {TRUSTED} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def add_trusted(self) -> None:
        """Make the user that needs no password."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {TRUSTED} SUPERUSER LOGIN")

    def launch(self, **settings: str) -> None:
        """Start the server without waiting for it."""
        said = _SETTINGS | {"port": str(self.port), "unix_socket_directories": ""} | settings
        command: list[str | Path] = [self._programs / "postgres", "-D", self.data]
        for name, value in said.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_too, **_as_unprivileged())

    def wait_ready(self) -> None:
        """Wait until the server takes connections."""
        assert self._server is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._server.poll() is None:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url()).close()
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not come up:\n{self.log.read_text()[-2000:]}")

    def start(self, **settings: str) -> None:
        """Start the server and wait for it."""
        self.launch(**settings)
        self.wait_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server, by default in order, throwing its clients out."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(how)
            self._server.wait(START_SECONDS)

    def kill9(self) -> None:
        """End the server as a power cut would: no process of it gets another turn."""
        if self._server is None or self._server.poll() is not None:
            return
        children = _children_of(self._server.pid)
        for pid in (self._server.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait(START_SECONDS)
        _wait_gone(children)

    def restart(self, **settings: str) -> None:
        """Stop and start."""
        self.stop()
        self.start(**settings)

    def terminate_backends(self, database: str) -> int:
        """End every connection to a database, as an operator or a failover would; return how many there were."""
        ask = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        with self.connect() as connection:
            row = connection.execute(ask, [database]).fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """A running server; the same one in every module that imports this."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    return kept(request, _RUNNING, lambda: running_postgres(programs))


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.new_database()


def find_programs() -> Path | None:
    """Return the folder of the server's programs, if they are installed."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def running_postgres(programs: Path, **settings: str) -> Iterator[PostgresServer]:
    """Run a server on a new cluster until the block ends."""
    # Not below pytest's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="glowplug-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, *_owner())
    server = PostgresServer(programs, folder)
    try:
        server.create()
        server.start(**settings)
        server.add_trusted()
        yield server
    finally:
        # At once: an orderly stop would write to the disk what is deleted next.
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _owner() -> tuple[int, int]:
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def _as_unprivileged() -> dict[str, Any]:
    """Return what makes a process another user's: the server refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    user, group = _owner()
    return {"user": user, "group": group, "extra_groups": [], "cwd": "/"}


def _die_too() -> None:
    # The signal for an immediate stop, should the tests be killed before they end the server.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def _wait_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while any(_is_there(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_there(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
