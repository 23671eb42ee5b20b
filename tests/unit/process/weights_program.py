"""A process that fetches weights, as a worker would: run by tests that kill it, or run it twice.

Arguments: cache folder, source folder, address, log of reads, and the byte to stall at ("" for none) until the file
`go` lies beside the log. Prints `progress <done> <total> <stage>` and at the end `path <path>`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from glowplug.artifact import ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import SystemClock
from glowplug.process.weights import Weights

CACHE, SOURCE, ADDRESS, LOG, STALL_AT = sys.argv[1:6]


class Logging(DiskArtifacts):
    """Writes each delivered range to the log that all processes share."""

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        go = Path(LOG).with_name("go")
        while STALL_AT and start >= int(STALL_AT) and not go.exists():
            await asyncio.sleep(0.01)
        async for piece in super().read(key, start=start, end=end):
            yield piece
        with Path(LOG).open("a") as log:
            log.write(f"{key} {start} {end}\n")


def open_source(url: str) -> tuple[ArtifactStore, str]:
    return Logging(Path(SOURCE)), url.partition("//")[2].partition("/")[2]


async def main() -> None:
    weights = Weights(Path(CACHE), open_source, SystemClock())
    found = await weights.fetch({"net": ADDRESS}, lambda *told: print("progress", *told, flush=True))
    print("path", found["net"], flush=True)
    sys.stdin.readline()


asyncio.run(main())
