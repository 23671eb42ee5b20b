"""A private mosquitto that keeps what it is told on the disk, wants a login, and can be killed and come back."""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.servers.certificates import make_authority
from tests.servers.kept import kept
from tests.servers.ports import answers, free_ports, wait_until

USER, PASSWORD = "glowplug", "no secret: /@%"
READER = "reader"
START_SECONDS = 20.0
_UNPRIVILEGED = "mosquitto"
_PR_SET_PDEATHSIG = 1
_RUNNING = pytest.StashKey["MosquittoServer"]()
# Found before anything forks: between a fork and its exec nothing may be loaded.
_LIBC = ctypes.CDLL(None)


class MosquittoServer:
    """A broker on ports and a folder of its own. It must be launched by the main thread: it dies with that."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port, self.tls_port = free_ports(2)
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    @property
    def ca_file(self) -> Path:
        """Where the CA is that the listener with TLS has its certificate from."""
        return self._folder / "ca.pem"

    def new_prefix(self) -> str:
        """Return a topic of the test's own."""
        return f"test{next(self._numbers)}/glowplug"

    def write_files(self) -> None:
        """Write everything that the broker reads, once."""
        make_authority(self._folder)
        passwords = self._folder / "passwords"
        passwords.touch()
        for user in (USER, READER):
            command = ["mosquitto_passwd", "-b", str(passwords), user, PASSWORD]
            subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
        (self._folder / "acl").write_text(f"user {USER}\ntopic readwrite #\n\nuser {READER}\ntopic read #\n")
        lines = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {self._folder / 'acl'}",
            "persistence true",
            f"persistence_location {self._folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            f"listener {self.port} 127.0.0.1",
            f"listener {self.tls_port} 127.0.0.1",
            f"certfile {self._folder / 'cert.pem'}",
            f"keyfile {self._folder / 'key.pem'}",
        ]
        (self._folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            # It drops its privileges at the start.
            for path in (self._folder, *self._folder.iterdir()):
                shutil.chown(path, _UNPRIVILEGED, _UNPRIVILEGED)

    def start(self) -> None:
        """Start the broker on its data, and wait until it serves."""
        command = [str(self._program), "-c", str(self._folder / "mosquitto.conf")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_too)
        process = self._process
        wait_until(lambda: process.poll() is not None or answers(self.port), "mosquitto to serve", limit=START_SECONDS)
        if process.poll() is not None:
            raise RuntimeError(f"mosquitto ended at once:\n{(self._folder / 'log').read_text()[-2000:]}")

    def kill9(self) -> None:
        """Kill the broker without a word, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(START_SECONDS)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the broker stand still: connections stay up, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def mosquitto(request: pytest.FixtureRequest) -> MosquittoServer:
    """A running broker, the same one in every module that imports this; take a prefix of your own."""
    return kept(request, _RUNNING, lambda: running_mosquitto(require_mosquitto()))


def require_mosquitto() -> Path:
    """Return the program; skip the test where it is not installed."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("no mosquitto: apt-get install mosquitto, or scripts/services")
    return Path(found)


@contextmanager
def running_mosquitto(program: Path) -> Iterator[MosquittoServer]:
    """Run a broker until the block ends."""
    # Not below pytest's folder, which the broker's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="glowplug-mosquitto-"))
    server = MosquittoServer(program, folder)
    try:
        server.write_files()
        server.start()
        yield server
    finally:
        server.kill9()
        shutil.rmtree(folder)


def _die_too() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.geteuid() == 0:
        # Changing the user, as the broker does by itself, would take the order to die with it back.
        entry = pwd.getpwnam(_UNPRIVILEGED)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
