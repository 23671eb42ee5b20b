"""4 GiB of weights from a cold cache: start to the end of the first forward, ours and the plain library in turn.

The files are written once into the folder `BENCH_WEIGHTS` (default: one for this run). Before each run they are dropped
from the page cache, which is checked; libraries stay in it.
"""

from __future__ import annotations

import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.models.big_stack import LAYERS, LAYERS_PER_FILE, WIDTH
from benchmarks.report import Figure, ratio_figure
from glowplug.process.readahead import is_cached

HERE = Path(__file__).parent
PAIRS = int(os.environ.get("BENCH_PAIRS", "7"))
OURS = HERE / "apps" / "big_host.py"
PLAIN = HERE / "peers" / "plain_stack.py"
BLOCK_BYTES = 16 << 20
ENOUGH_BYTES = 1 << 30


def measure() -> list[Figure]:
    """Return the ratio of the times, and both against what the disk gives."""
    try:
        import torch
    except ImportError:
        return [Figure("4 GiB of weights, cold", "not measured: torch is not installed", method="pip install torch")]
    del torch
    with ExitStack() as stack:
        folder = Path(
            os.environ.get("BENCH_WEIGHTS") or stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
        )
        files = written(folder)
        total_bytes = sum(file.stat().st_size for file in files)
        for program in (OURS, PLAIN):
            first_forward(program, folder)
        ours, plain, disk = [], [], []
        for number in range(PAIRS):
            # In turn first and second: a disk that is slower after a long read must not favour one of them.
            for program, seconds in ((OURS, ours), (PLAIN, plain))[:: -1 if number % 2 else 1]:
                dropped(files)
                seconds.append(first_forward(program, folder))
            disk.append(direct_rate(files[number % len(files)]))
    rate = statistics.median(disk)
    reading = total_bytes / rate
    said = f"ours {statistics.median(ours) / reading:.2f} x, plain {statistics.median(plain) / reading:.2f} x"
    return [
        ratio_figure("4 GiB of weights, cold: start to first forward", ours, plain, 1.10),
        Figure(
            "the same against reading alone",
            f"{said} of {reading:.1f} s",
            method=f"direct reads of 1 GiB between the pairs: {min(disk) / 1e6:.0f}-{max(disk) / 1e6:.0f} MB/s",
        ),
    ]


def written(folder: Path) -> list[Path]:
    """Return the files of the stack, written if they are not there."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, LAYERS, LAYERS_PER_FILE):
        paths.append(path := folder / f"stack-{first:02}.safetensors")
        if path.exists():
            continue
        torch.manual_seed(first)
        layers = {f"{first + one}.weight": torch.rand(WIDTH, WIDTH) - 0.5 for one in range(LAYERS_PER_FILE)}
        save_file(layers, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return paths


def dropped(files: list[Path]) -> None:
    """Drop the files from the page cache. Raises `RuntimeError` where the system keeps them."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            size = path.stat().st_size
            places = [random.randrange(size - BLOCK_BYTES) for _ in range(8)]
            if any(is_cached(descriptor, place, BLOCK_BYTES) for place in places):
                raise RuntimeError(f"{path} stays in memory: something else uses it")
        finally:
            os.close(descriptor)


def first_forward(program: Path, folder: Path) -> float:
    """Return the seconds from the start of a program to the end of its first forward."""
    began = time.monotonic()
    with subprocess.Popen([sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - began
        process.stdout.read()
    if not line.startswith("done"):
        raise RuntimeError(f"{program.name} did not come to its first forward: {line}")
    print(f"  {program.stem}: {seconds:.1f} s ({line.strip()})", file=sys.stderr, flush=True)
    return seconds


def direct_rate(path: Path) -> float:
    """Return the bytes per second that the disk gives past the page cache."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, BLOCK_BYTES) as block:
            began, done = time.monotonic(), 0
            while done < ENOUGH_BYTES and (count := os.readv(descriptor, [block])):
                done += count
            return done / (time.monotonic() - began)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    from benchmarks.report import show

    show(measure())
