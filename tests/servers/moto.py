"""A private stand-in of AWS: moto's server, which can be killed and comes back with nothing in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.servers.kept import kept
from tests.servers.ports import free_port

START_SECONDS = 60.0
REGION = "eu-central-1"
NEVER = 1 << 40
# Ends the server when the test run that started it is gone, however that ended.
_GUARDED = """
import os, signal, sys, threading, time
def follow():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()

# Its long polls wait a tenth as long, so that who stops need not wait for them, and one at a time takes messages.
from moto.sqs.models import SQSBackend
receive, taking = SQSBackend.receive_message, threading.Lock()
def receive_soon(self, queue, count, wait, *more, **named):
    end = time.monotonic() + wait / 10
    while True:
        with taking:
            found = receive(self, queue, count, 0, *more, **named)
        if found or time.monotonic() > end:
            return found
        time.sleep(0.005)
SQSBackend.receive_message = receive_soon

from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""
_RUNNING = pytest.StashKey["MotoServer"]()


@dataclass
class MotoServer:
    """One server of our own: its port, and the process while it runs."""

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _prefixes: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.port = free_port()

    @property
    def endpoint(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def queues_url(self, *, prefix: str | None = None, fifo: bool = False) -> str:
        """Return the address of a broker, as settings have it, by default with queues that nobody else has."""
        named = prefix or f"test-{next(self._prefixes)}"
        return f"sqs://{REGION}/{named}?endpoint={self.endpoint}&fifo={str(fifo).lower()}"

    def client(self, service: str = "sqs") -> Any:
        """Return boto3's own client, for a look past ours."""
        import boto3

        keys = {"aws_access_key_id": "other", "aws_secret_access_key": "other"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.endpoint, **keys)

    def check_keys(self, *, check: bool) -> None:
        """Have it know no keys at all, as AWS does not know those that somebody made up; or take any again."""
        count = str(0 if check else NEVER).encode()
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", count, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=START_SECONDS).close()

    def start(self) -> None:
        """Start it, empty, and wait until it serves."""
        command = [sys.executable, "-c", _GUARDED, str(self.port)]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=5).close()
                return
            time.sleep(0.02)
        raise RuntimeError(f"moto did not come up:\n{(self.folder / 'output').read_text()[-2000:]}")

    def kill9(self) -> None:
        """Kill it without a word; all its queues are gone with it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def restart(self) -> None:
        """Start it again, where it was."""
        self.kill9()
        self.start()


@pytest.fixture(scope="session")
def moto(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MotoServer:
    """A running server; the same one in every module that imports this."""
    return kept(request, _RUNNING, lambda: running_moto(tmp_path_factory.mktemp("moto")))


@contextmanager
def running_moto(folder: Path) -> Iterator[MotoServer]:
    """Run a server until the block ends."""
    if find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("no stand-in of AWS: pip install 'moto[server]'")
    server = MotoServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill9()


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys in the environment, where boto3 looks first; the files and the machine's role are out of its sight."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "glowplug-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-see")
