"""What the library costs an app: until its first answer, and on each request that has nothing to do with it.

Each pair is two fresh processes, the app without the library and with it, both alive and asked in turn for moments so
short that whatever slows down one slows down both. A process keeps the luck of its addresses and hashes for life, so
the same two processes asked again would not be another pair.
"""

from __future__ import annotations

import math
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.processes import free_port, program, wait_for
from benchmarks.report import Figure

PAIRS = 36
CONNECTIONS = 8
TURNS = 20
TURN_SECONDS = 0.05
WARM_UP_SECONDS = 0.2
START_LIMIT_SECONDS = 0.05
LOSS_LIMIT = 0.02
KINDS = ("bare", "ready")
REQUEST = b"GET /noop HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ANSWER = b'{"text":"hello"}'


@dataclass(frozen=True)
class Pair:
    """Seconds to the first answer, and seconds for each request: without the library, and with it."""

    starts: dict[str, float]
    requests: dict[str, float]


def measure() -> list[Figure]:
    """Return the cost in start-up and in throughput over `PAIRS` pairs."""
    _pair(0)
    pairs = [_pair(number) for number in range(PAIRS)]
    return [_start(pairs), _throughput(pairs)]


def _start(pairs: Sequence[Pair]) -> Figure:
    middle, low, high = interval([pair.starts["ready"] - pair.starts["bare"] for pair in pairs])
    bare = statistics.median(pair.starts["bare"] for pair in pairs)
    return Figure(
        "the library in a FastAPI app: exec to first 200",
        f"+{middle * 1000:.0f} ms (95 %: {low * 1000:.0f} to {high * 1000:.0f}) to {bare * 1000:.0f} ms",
        "< 50 ms",
        high < START_LIMIT_SECONDS,
        f"{len(pairs)} pairs in turn, median difference",
    )


def _throughput(pairs: Sequence[Pair]) -> Figure:
    middle, low, high = interval([pair.requests["bare"] / pair.requests["ready"] - 1 for pair in pairs])
    bare = 1 / statistics.median(pair.requests["bare"] for pair in pairs)
    return Figure(
        "... throughput of a request that does nothing",
        f"{middle:+.1%} (95 %: {low:+.1%} to {high:+.1%}) of {bare:,.0f} req/s",
        "loses at most 2 %",
        low >= -LOSS_LIMIT,
        f"{len(pairs)} pairs of fresh processes asked in turns of {TURN_SECONDS * 1000:.0f} ms, median ratio",
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % confidence interval, from ranks alone: a disturbed pair counts as one pair."""
    ordered, count = sorted(values), len(values)
    rank = max(0, int(count / 2 - 0.98 * math.sqrt(count)))
    return statistics.median(ordered), ordered[rank], ordered[count - 1 - rank]


def _pair(number: int) -> Pair:
    order = KINDS if number % 2 else KINDS[::-1]
    with ExitStack() as stack:
        started = {kind: stack.enter_context(_running(kind)) for kind in order}
        asking = {kind: stack.enter_context(Asking(port)) for kind, (port, _) in started.items()}
        for asked in asking.values():
            asked.ask(WARM_UP_SECONDS)
        turns = [(kind, asking[kind].ask(TURN_SECONDS)) for _ in range(TURNS) for kind in order]
    requests = {kind: statistics.median(seconds for one, seconds in turns if one == kind) for kind in order}
    return Pair({kind: seconds for kind, (_, seconds) in started.items()}, requests)


@contextmanager
def _running(kind: str) -> Iterator[tuple[int, float]]:
    """Yield the port of a fresh app, and the seconds from exec to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
        begun = time.monotonic()
        with program([sys.executable, "-m", "benchmarks.apps.no_op", str(port), kind], environment):
            yield port, wait_for(port, "/noop", every=0.002) - begun


class Asking:
    """Connections that ask again as soon as they are answered, so that the server has always something to do."""

    def __init__(self, port: int) -> None:
        self._connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CONNECTIONS)]
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Asking:
        for connection in self._connections:
            self._selector.register(connection, selectors.EVENT_READ, connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def ask(self, seconds: float) -> float:
        """Ask for so long, and return the seconds by the number of answers."""
        begun = time.perf_counter()
        for connection in self._connections:
            connection.send(REQUEST)
        answered, waiting = 0, len(self._connections)
        while waiting:
            over = time.perf_counter() - begun >= seconds
            for key, _ in self._selector.select():
                answer = key.data.recv(4096)
                if not answer:
                    raise ConnectionError("the app closed a connection")
                # Head and body may come apart.
                if not answer.endswith(ANSWER):
                    continue
                answered += 1
                if over:
                    waiting -= 1
                else:
                    key.data.send(REQUEST)
        return (time.perf_counter() - begun) / answered
