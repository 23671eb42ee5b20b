"""A private RabbitMQ that can be killed and come back on the same data.

The server is the one of the Debian package. It is asked by Erlang's own `erl_call`, which takes a tenth of the second
that `rabbitmqctl` needs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.servers.certificates import make_authority
from tests.servers.kept import kept
from tests.servers.ports import answers, free_ports, wait_until

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 90.0
COOKIE = "GLOWPLUGTESTS"
ASKED_TIMES = 3
# Ends the group of the broker when the test run that started it is gone, however that ended.
_GUARD = """
import os, signal, sys
os.setsid()
child = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""
_RUNNING = pytest.StashKey["RabbitServer"]()


@dataclass
class RabbitServer:
    """One broker of our own: its ports, its folder, and the process while it runs."""

    folder: Path
    config: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    tls_port: int = 0
    _dist_port: int = 0
    _epmd_port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _vhosts: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.port, self.tls_port, self._dist_port, self._epmd_port = free_ports(4)

    def url(self, vhost: str = "/", *, user: str = "guest", password: str = "guest") -> str:
        """Return the address, as settings have it."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{'' if vhost == '/' else quote(vhost, safe='')}"

    @property
    def ca_file(self) -> Path:
        """Where the CA is that the listener with TLS has its certificate from."""
        return self.folder / "ca.pem"

    def tls_url(self, ca_file: Path | None = None) -> str:
        """Return the address of the listener with TLS; `ca_file` is the CA to trust."""
        return f"amqps://guest:guest@localhost:{self.tls_port}/" + (f"?cacertfile={ca_file}" if ca_file else "")

    def make_vhost(self, name: str | None = None) -> str:
        """Make a vhost of the test's own, and return its name."""
        name = name or f"test-{next(self._vhosts)}"
        self.ask(f'rabbit_vhost:add(<<"{name}">>, <<"tests">>).')
        self.ask(f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, {_ALL}, <<"tests">>).')
        return name

    def delete_queue(self, name: str, vhost: str = "/") -> None:
        """Delete a queue, as somebody with other plans would."""
        self.ask(
            f'{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"{vhost}">>, queue, <<"{name}">>}}), '
            'rabbit_amqqueue:delete(Q, false, false, <<"tests">>).'
        )

    def make_user(self, name: str, password: str) -> None:
        """Make a user who may do nothing yet."""
        self.ask(f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"tests">>).')

    @contextmanager
    def set_to(self, **settings: int) -> Iterator[None]:
        """Have settings of the broker's own, such as `consumer_timeout`, for channels that are opened in the block."""
        former = {key: self.ask(f"{{ok, Value}} = application:get_env(rabbit, {key}), Value.") for key in settings}
        for key, value in settings.items():
            self.ask(f"application:set_env(rabbit, {key}, {value}).")
        try:
            yield
        finally:
            for key, was in former.items():
                self.ask(f"application:set_env(rabbit, {key}, {was}).")

    @contextmanager
    def alarmed(self) -> Iterator[None]:
        """Let the broker believe that its memory is full: it takes nothing from publishers."""
        alarm = "{resource_limit, memory, node()}"
        self.ask(f"rabbit_alarm:set_alarm({{{alarm}, []}}).")
        try:
            yield
        finally:
            self.ask(f"rabbit_alarm:clear_alarm({alarm}).")

    def close_connections(self, why: str = "tests") -> None:
        """Close every client's connection from the broker's side."""
        self.ask(f'[rabbit_networking:close_connection(Pid, "{why}") || Pid <- rabbit_networking:connections()], ok.')

    def ask(self, erlang: str) -> str:
        """Evaluate Erlang in the broker, and return what came out."""
        command = ["erl_call", "-sname", self._node, "-c", COOKIE, "-e"]
        for _ in range(ASKED_TIMES):
            done = subprocess.run(
                command, input=erlang.encode() + b"\n", capture_output=True, env=self._environment(), timeout=60
            )
            said = (done.stdout + done.stderr).decode()
            # A busy machine may not come to its handshake in time; nothing was asked then.
            if "failed to connect to node" not in said:
                break
        if done.returncode != 0 or not said.startswith("{ok,"):
            raise RuntimeError(f"{erlang} came to {said}")
        return said.removeprefix("{ok, ").rstrip().removesuffix("}")

    def start(self) -> None:
        """Start the broker on its data, and wait until it serves."""
        self._write_files()
        command = [sys.executable, "-c", _GUARD, str(SCRIPT)]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=self._environment(), cwd=self.folder
            )
        self._wait_until_it_serves()

    def write_down(self) -> None:
        """Have the broker write down which queues there are, as it does by itself once in a while.

        RabbitMQ 3.10 forgets a quorum queue, confirmed messages and all, when it is killed in the half second after the
        declaration: it comes back without a leader, for good. Call this before a kill that is to lose nothing.
        """
        self.ask("[dets:sync(Table) || Table <- dets:all()].")

    def kill9(self) -> None:
        """Kill the broker without a word, as a power cut would; see `write_down`."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: not answers(self.port), "the port to close", limit=START_SECONDS)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the broker stand still: connections stay up, and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same data."""
        self.kill9()
        self.start()

    def close(self) -> None:
        """End everything."""
        self.kill9()
        subprocess.run(["epmd", "-port", str(self._epmd_port), "-kill"], capture_output=True, check=False)

    @property
    def _node(self) -> str:
        return f"glowplug{self.port}"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"{self._node}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ERLANG_COOKIE": COOKIE,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _write_files(self) -> None:
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(COOKIE)
            cookie.chmod(0o400)
        (self.folder / "plugins").write_text("[].\n")
        if not self.ca_file.exists():
            make_authority(self.folder)
        lines = {
            "loopback_users": "none",
            "disk_free_limit.absolute": "50MB",
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": str(self.ca_file),
            "ssl_options.certfile": str(self.folder / "cert.pem"),
            "ssl_options.keyfile": str(self.folder / "key.pem"),
            **self.config,
        }
        (self.folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def _wait_until_it_serves(self) -> None:
        process = self._process
        assert process is not None
        try:
            wait_until(
                lambda: process.poll() is not None or answers(self.port), "the port to open", limit=START_SECONDS
            )
            if process.poll() is not None:
                raise RuntimeError("RabbitMQ ended at once")
        except Exception as error:
            said = (self.folder / "output").read_text()[-3000:]
            self.kill9()
            raise RuntimeError(f"RabbitMQ did not come up:\n{said}") from error


_ALL = '<<".*">>, <<".*">>, <<".*">>'


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RabbitServer:
    """A running broker, the same one in every module that imports this; take a vhost of your own."""
    require_rabbitmq()
    return kept(request, _RUNNING, lambda: running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")))


@pytest.fixture
def vhost(rabbitmq: RabbitServer) -> str:
    """A vhost of this test alone."""
    return rabbitmq.make_vhost()


def require_rabbitmq() -> None:
    """Skip the test where the broker is not installed."""
    if not SCRIPT.exists() or shutil.which("erl_call") is None:
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server, or scripts/services")


@contextmanager
def running_rabbitmq(folder: Path, **config: str) -> Iterator[RabbitServer]:
    """Run a broker with lines of `rabbitmq.conf` of its own (`__` stands for a dot) until the block ends."""
    server = RabbitServer(folder, {key.replace("__", "."): value for key, value in config.items()})
    try:
        server.start()
        yield server
    finally:
        server.close()
