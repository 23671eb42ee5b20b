"""Reading files into the page cache before somebody maps them: exact progress, and a faster load."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from glowplug.lifecycle import in_thread

BLOCK_BYTES = 8 << 20
BLOCKS_AHEAD = 2
PAGE_BYTES = 4096
SAMPLES_PER_BLOCK = 8

_MEMORY_INFO = Path("/proc/meminfo")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


async def read_ahead(files: Sequence[Path], report: Callable[[int, int], None]) -> None:
    """Read each file once, in order, and `report(done_bytes, total_bytes)` after each block.

    Blocks that are in the page cache are not read again. Files that do not fit into memory together are left alone:
    the last of them would push out the first.
    """
    sizes = [path.stat().st_size for path in files]
    total_bytes, done_bytes = sum(sizes), 0
    if total_bytes > free_memory_bytes():
        return
    buffer = memoryview(bytearray(min(BLOCK_BYTES, max(sizes, default=0))))
    for path, size_bytes in zip(files, sizes, strict=True):
        with await in_thread(None, FileIO, path) as stream:
            for start in range(0, size_bytes, BLOCK_BYTES):
                length = min(BLOCK_BYTES, size_bytes - start)
                await in_thread(None, _warm, stream, start, buffer[:length])
                done_bytes += length
                report(done_bytes, total_bytes)


def is_cached(descriptor: int, start: int, length: int) -> bool:
    """Say whether samples of the range are in the page cache; False where the system cannot tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    page = bytearray(PAGE_BYTES)
    step = max(PAGE_BYTES, length // SAMPLES_PER_BLOCK)
    offsets = [*range(start, start + length, step), start + max(0, length - PAGE_BYTES)]
    # A read that may not wait fails where the page is on the disk alone, or where the file system knows no such reads.
    try:
        return all(os.preadv(descriptor, [page], offset, os.RWF_NOWAIT) > 0 for offset in offsets)
    except OSError:
        return False


def free_memory_bytes() -> int:
    """Return how much memory can hold files: what the system can spare, within the limit of our container."""
    found = [1 << 62]
    with suppress(OSError):
        spare = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMORY_INFO.read_text(), re.MULTILINE)
        found += [int(spare[1]) * 1024] if spare else []
    with suppress(OSError, ValueError):
        found.append(int(_MEMORY_LIMIT.read_text()))
    return min(found)


def _warm(stream: FileIO, start: int, buffer: memoryview) -> None:
    if is_cached(stream.fileno(), start, len(buffer)):
        return
    if hasattr(os, "posix_fadvise"):
        # The disk goes on while we are between two reads. Linux takes no more of one call than the disk reads at once.
        for ahead in range(1 + BLOCKS_AHEAD):
            os.posix_fadvise(stream.fileno(), start + ahead * BLOCK_BYTES, BLOCK_BYTES, os.POSIX_FADV_WILLNEED)
    stream.seek(start)
    while buffer and (count := stream.readinto(buffer)):
        buffer = buffer[count:]
