"""Ports of servers on loopback: free ones, and whether somebody answers."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

_LOWEST, _WORKERS = 10_000, 8
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different.

    They are none that the system gives to connections, nor any of another test process beside this one: a server that
    takes a second to start would find them taken.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    ours = range(_LOWEST + worker, _lowest_ephemeral(), _WORKERS)
    found: list[int] = []
    with ExitStack() as taken:
        # Not the tests' own chance, which begins anew with each of them.
        for port in random.SystemRandom().sample(ours, len(ours)):
            one = taken.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"there are no {count} free ports among {ours}")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    return free_ports(1)[0]


def _lowest_ephemeral() -> int:
    return int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768


def answers(port: int) -> bool:
    """Say whether somebody takes connections at a port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            # Who asks a free port often enough is given that very port once, and talks to itself.
            return bool(probe.getsockname() != probe.getpeername())
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str, *, limit: float) -> None:
    """Wait for a fact about a server, of which no event reaches this process. Raises `RuntimeError`."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.02)
