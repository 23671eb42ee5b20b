"""Ports of servers on loopback: free ones, and whether somebody answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    return free_ports(1)[0]


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
