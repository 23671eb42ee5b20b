"""Programs under test: started, waited for, and ended with everything they started."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
GLOWPLUG = [sys.executable, "-m", "glowplug"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def program(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, stdin: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own; on the way out the whole group is ended."""
    with Path(os.environ.get("BENCH_LOG", os.devnull)).open("ab") as log:
        process = subprocess.Popen(
            list(command),
            env={**_usual(), **(environment or {})},
            stdin=stdin,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            _end(process)


def _usual() -> dict[str, str]:
    """Return our environment without what would keep a program from using its byte code, as an installed one does."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=8)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def get(port: int, path: str, timeout: float = 2.0) -> tuple[int, bytes]:
    """Return status and body of one GET over a new connection; status 0 if the connection failed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def wait_for(port: int, path: str, *, contains: bytes = b"", every: float = 0.005, limit: float = 60.0) -> float:
    """Poll until a 200 whose body contains `contains`; return the monotonic moment."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        status, body = get(port, path)
        if status == 200 and contains in body:
            return time.monotonic()
        time.sleep(every)
    raise TimeoutError(f"no answer from port {port}{path} in {limit} s")
