"""Embeddings for 32 callers at once beside the libraries' own offline batches: same texts, same model, same threads.

Inside the process the calls take the real way without HTTP: the batcher, the host, the model's process, JSON there and
back. The library works in a process of its own and knows all its texts beforehand. They take turns, and each turn of
ours is paired with the library's beside it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp

from benchmarks.library_cost import interval
from benchmarks.peers.embed_offline import texts
from benchmarks.processes import GLOWPLUG, free_port, program, wait_for
from benchmarks.report import Figure
from glowplug.clock import SystemClock
from glowplug.job import OutcomeKind
from glowplug.process.call import Call
from glowplug.process.host import Host, HostSpec
from glowplug.readiness import Board
from glowplug.runtime.batcher import Batchers

PAIRS = int(os.environ.get("BENCH_PAIRS", "15"))
TEXTS = 128
CALLERS = 32
THREADS = min(4, os.cpu_count() or 1)
BAR = 0.9
TASK = "embeddings.embed"
LIBRARIES = {
    "ort": "tokenizers + onnxruntime, batches of 32 as they come",
    "ort-sorted": "the same, all texts sorted by length beforehand",
    "torch": "transformers + torch, batches of 32, sorted",
    "encoder": "our own encoder in a loop, 32 texts at a time",
}


def measure() -> list[Figure]:
    """Return our rate against each library, and what HTTP leaves of it."""
    with _peer() as peer:
        inside = asyncio.run(_inside(peer))
        return [*inside, *asyncio.run(_over_http(peer))]


class Peer:
    """The process of the libraries."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ready(self) -> None:
        """Wait until it has loaded."""
        while self._line() != "ready":
            continue

    def seconds(self, mode: str, count: int, first: int) -> float:
        """Return how long a library took for these texts."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mode} {count} {first}\n".encode())
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the libraries' process ended; it needs the extra glowplug[embeddings]")
        return line.decode().strip()


async def _inside(peer: Peer) -> list[Figure]:
    ours: dict[str, list[float]] = {mode: [] for mode in LIBRARIES}
    theirs: dict[str, list[float]] = {mode: [] for mode in LIBRARIES}
    async with _batchers() as batchers:
        await _called(batchers, TEXTS, 0)
        for mode in LIBRARIES:
            await asyncio.to_thread(peer.seconds, mode, TEXTS, 0)
        for pair in range(PAIRS):
            first = pair * TEXTS
            for mode in LIBRARIES:
                # Who goes first changes from pair to pair: a machine that slows down harms both alike.
                if pair % 2:
                    theirs[mode].append(await asyncio.to_thread(peer.seconds, mode, TEXTS, first))
                ours[mode].append(await _called(batchers, TEXTS, first))
                if not pair % 2:
                    theirs[mode].append(await asyncio.to_thread(peer.seconds, mode, TEXTS, first))
    return [_against(name, ours[mode], theirs[mode]) for mode, name in LIBRARIES.items()]


def _against(name: str, ours: list[float], theirs: list[float]) -> Figure:
    ratios = [their / mine for mine, their in zip(ours, theirs, strict=True)]
    middle, low, high = interval(ratios)
    rates = f"{TEXTS / statistics.median(ours):.0f} texts/s against {TEXTS / statistics.median(theirs):.0f}"
    return Figure(
        f"embeddings, {CALLERS} callers inside the process, against {name}",
        f"{middle:.0%} (95 %: {low:.0%} to {high:.0%}): {rates}",
        f">= {BAR:.0%}",
        middle >= BAR,
        f"{len(ratios)} pairs of {TEXTS} texts in turn, {THREADS} threads",
    )


async def _over_http(peer: Peer) -> list[Figure]:
    port = free_port()
    rates: dict[int, list[float]] = {1: [], CALLERS: []}
    library: dict[str, list[float]] = {"ort": [], "ort-one": []}
    with tempfile.TemporaryDirectory() as folder, _gateway(port, folder):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as session:
            await _posted(session, port, CALLERS, 0)
            for pair in range(max(3, PAIRS // 3)):
                for callers in rates:
                    rates[callers].append(TEXTS / await _posted(session, port, callers, pair * TEXTS))
                for mode in library:
                    library[mode].append(TEXTS / await asyncio.to_thread(peer.seconds, mode, TEXTS, pair * TEXTS))
    many, one = statistics.median(rates[CALLERS]), statistics.median(rates[1])
    batched, single = statistics.median(library["ort"]), statistics.median(library["ort-one"])
    return [
        Figure(
            f"embeddings over HTTP by the gateway, {CALLERS} clients",
            f"{many:.0f} texts/s, {many / batched:.0%} of onnxruntime's batches of 32 ({batched:.0f})",
            method=f"{len(rates[1])} turns of {TEXTS} texts, clients on the same cores",
        ),
        Figure(
            f"... {CALLERS} clients against one",
            f"{many / one:.2f} x; the library's batch of 32 against single texts: {batched / single:.2f} x",
            method=f"one client {one:.0f} texts/s, single texts {single:.0f}",
        ),
    ]


@asynccontextmanager
async def _batchers() -> AsyncIterator[Batchers]:
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        board = Board(clock)
        spec = HostSpec(
            target="glowplug.workloads.embeddings.model:Embeddings",
            options={"threads": str(THREADS)},
            scratch=Path(folder),
        )
        host = Host(spec, board.add("embeddings"), clock=clock)
        batchers = Batchers(host, clock)
        async with host, batchers:
            await board.wait_until_ready(timeout=120)
            yield batchers


async def _called(batchers: Batchers, count: int, first: int) -> float:
    """Let the callers share the texts out; return the seconds until all are back."""
    left = iter([json.dumps({"text": text}).encode() for text in texts(count, first)])
    numbers = itertools.count()

    async def caller() -> None:
        for body in left:
            call_id = f"{first}-{next(numbers)}-{time.monotonic_ns():x}"
            call = Call(id=call_id, task=TASK, input_json=body, prefix=f"calls/{call_id}")
            end = await batchers.run(call)
            if end.kind is not OutcomeKind.COMPLETED:
                raise RuntimeError(f"a call ended as {end.kind}: {end.error}")

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - began


async def _posted(session: aiohttp.ClientSession, port: int, callers: int, first: int) -> float:
    left = iter([json.dumps({"text": text}).encode() for text in texts(TEXTS, first)])
    headers = {"content-type": "application/json"}

    async def client() -> None:
        for body in left:
            async with session.post(f"http://127.0.0.1:{port}/v1/run/{TASK}", data=body, headers=headers) as answer:
                answer.raise_for_status()
                json.loads(await answer.read())["embedding"]

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(callers)))
    return time.perf_counter() - began


@contextmanager
def _gateway(port: int, folder: str) -> Iterator[None]:
    environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
    options = ["--option", f"threads={THREADS}"]
    with program([*GLOWPLUG, "up", "embeddings", "--port", str(port), *options], environment):
        wait_for(port, "/api/ready", contains=b'"ready":true')
        yield


@contextmanager
def _peer() -> Iterator[Peer]:
    command = [sys.executable, "-m", "benchmarks.peers.embed_offline", str(THREADS)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            peer = Peer(process)
            peer.ready()
            yield peer
        finally:
            process.kill()
