"""From an update of the board to everybody who watches it: a real server, its readers in another process.

The server writes the moment of each update into the update; the clock is common to both processes.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.journeys.readers import Crowd, Reader

from benchmarks.processes import free_port, program, wait_for
from benchmarks.report import Figure, percentile

SERVER = Path(__file__).parents[1] / "tests" / "servers" / "told_board.py"
STREAMS = SOCKETS = 1_000
UPDATES = 60
# No divisor of the second in which WebSocket readers are told anyway: updates meet that traffic in every phase.
EVERY_SECONDS = 0.47
LIMIT_SECONDS = 0.25
STALLED = 50
WINDOW_BYTES = 4096
FLOOD = 4_000
FLOOD_SECONDS = 0.002
FLOOD_BYTES = 8_000
GROWTH_BYTES = 32 << 20


@dataclass(frozen=True)
class Told:
    """How `UPDATES` updates reached the readers: a delay for each update and reader, and how many never came."""

    delays: Sequence[float]
    missed: int

    @property
    def words(self) -> str:
        """Return the figures as the table has them."""
        p50, p99 = statistics.median(self.delays), percentile(self.delays, 0.99)
        return f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, slowest {max(self.delays) * 1000:.0f} ms"

    @property
    def kept(self) -> bool:
        """Say whether all were told in time."""
        return percentile(self.delays, 0.99) < LIMIT_SECONDS and not self.missed


class Server:
    """The server under test: updated by lines of its input."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    def update(self, count: int = 1, every_seconds: float = 0.0, ballast_bytes: int = 0) -> None:
        """Have the board updated."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count} {every_seconds} {ballast_bytes}\n".encode())
        self._process.stdin.flush()

    @property
    def memory_bytes(self) -> int:
        """Return how much of its memory is in use."""
        resident: int = psutil.Process(self._process.pid).memory_info().rss
        return resident


def measure() -> list[Figure]:
    """Return how fast all are told, alone and beside readers that have stopped, and what those cost."""
    _allow_files(2 * (STREAMS + SOCKETS + STALLED))
    with _server() as server, Crowd(server.port) as crowd:
        readers = crowd.join(STREAMS, SOCKETS)
        _begun(crowd, readers)
        alone = _told(server, crowd, readers)
        stalled = crowd.join(STALLED // 2, STALLED // 2, window_bytes=WINDOW_BYTES)
        _begun(crowd, stalled)
        crowd.stall(stalled)
        beside = _told(server, crowd, readers)
    said = f"{STREAMS:,} SSE + {SOCKETS:,} WebSocket readers"
    method = f"{UPDATES} updates, each to every reader; one process with one loop serves them"
    bar = "p99 < 250 ms, none missed"
    return [
        Figure(f"board update to {said}", alone.words, bar, alone.kept, f"{method}; {alone.missed} missed"),
        Figure(
            f"... beside {STALLED} more that stopped reading", beside.words, bar, beside.kept, f"{beside.missed} missed"
        ),
        *_slow(),
    ]


def _told(server: Server, crowd: Crowd, readers: Sequence[Reader]) -> Told:
    for reader in readers:
        reader.delays.clear()
    for _ in range(UPDATES):
        server.update()
        crowd.read(EVERY_SECONDS)
    crowd.read(20 * EVERY_SECONDS, lambda: all(len(reader.delays) == UPDATES for reader in readers))
    delays = [delay for reader in readers for delay in reader.delays.values()]
    return Told(delays, UPDATES * len(readers) - len(delays))


def _slow() -> Iterator[Figure]:
    """Yield what stalled readers cost the server, and what they get once they read again."""
    with _server() as server, Crowd(server.port) as crowd:
        reading = crowd.join(10, 10)
        stalled = crowd.join(STALLED // 2, STALLED // 2, window_bytes=WINDOW_BYTES)
        _begun(crowd, crowd.readers)
        crowd.stall(stalled)
        before = server.memory_bytes
        server.update(FLOOD, FLOOD_SECONDS, FLOOD_BYTES)
        crowd.read(2 * FLOOD * FLOOD_SECONDS)
        server.update()
        _newest(crowd, reading)
        grown, told = server.memory_bytes - before, [reader.messages for reader in stalled]
        crowd.resume(stalled)
        _newest(crowd, crowd.readers)
        late = max(reader.messages - before for reader, before in zip(stalled, told, strict=True))
    whole = FLOOD * FLOOD_BYTES * STALLED / 2**20
    yield Figure(
        f"server's memory while {STALLED} readers have stopped",
        f"+{grown / 2**20:.0f} MiB over {FLOOD:,} updates of {FLOOD_BYTES / 1000:g} kB",
        f"<= {GROWTH_BYTES >> 20} MiB",
        grown <= GROWTH_BYTES,
        f"a queue for each would have been {whole:.0f} MiB",
    )
    yield Figure(
        "... once they read again",
        f"the newest after at most {late} of {FLOOD:,} messages",
        f"<= {FLOOD // 4:,}",
        late <= FLOOD // 4,
        "those before it lay in the sockets' own buffers",
    )


def _newest(crowd: Crowd, readers: Sequence[Reader]) -> None:
    """Read until all have what the reader that is furthest has, and nothing newer comes."""

    def level() -> bool:
        return len({reader.newest for reader in readers}) == 1

    if not (crowd.read(1.0) or crowd.read(30.0, level)):
        raise RuntimeError(f"not all got the newest picture; {len(crowd.gone)} readers were sent away")


def _begun(crowd: Crowd, readers: Sequence[Reader]) -> None:
    if not crowd.read(60.0, lambda: all(reader.messages for reader in readers)):
        silent = sum(not reader.messages for reader in readers)
        raise RuntimeError(f"{silent} of {len(readers)} readers were told nothing; {len(crowd.gone)} were sent away")


@contextmanager
def _server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
        with program([sys.executable, str(SERVER), str(port)], environment, stdin=subprocess.PIPE) as process:
            wait_for(port, "/livez")
            yield Server(process, port)


def _allow_files(count: int) -> None:
    """Let this process and its children open so many files, as far as the machine does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(count, hard) if hard != resource.RLIM_INFINITY else count, hard)
        )
