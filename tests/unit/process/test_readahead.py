"""Files are read into the page cache once, with exact progress."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from glowplug.process import readahead
from glowplug.process.readahead import BLOCK_BYTES, free_memory_bytes, is_cached, read_ahead

pytestmark = pytest.mark.timeout(60)

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell")


@pytest.fixture
def told() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def tell(told: list[tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda done, total: told.append((done, total))


@pytest.fixture
def read_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the blocks that were really read."""
    sizes: list[int] = []

    class Counting(FileIO):
        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer) or 0
            sizes.append(count)
            return count

    monkeypatch.setattr(readahead, "FileIO", Counting)
    return sizes


def evict(path: Path) -> bool:
    """Push a file out of the page cache; return whether the system did it."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return not is_cached(stream.fileno(), 0, path.stat().st_size)


async def test_each_block_of_each_file_is_told_once(
    tmp_path: Path, told: list[tuple[int, int]], tell: Callable[[int, int], None]
) -> None:
    sizes = {"a": 2 * BLOCK_BYTES + 5, "b": 0, "c": 17}
    for name, size_bytes in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size_bytes)
    await read_ahead([tmp_path / name for name in sizes], tell)
    total = sum(sizes.values())
    done = [BLOCK_BYTES, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 5, total]
    assert told == [(one, total) for one in done]


async def test_no_files_are_no_progress(told: list[tuple[int, int]], tell: Callable[[int, int], None]) -> None:
    await read_ahead([], tell)
    assert told == []


@on_linux
async def test_what_is_on_the_disk_alone_is_read_and_then_is_in_memory(
    tell: Callable[[int, int], None], told: list[tuple[int, int]], read_blocks: list[int]
) -> None:
    # Beside this file, for a temporary folder may be in memory, from where nothing can be evicted.
    with TemporaryDirectory(dir=Path(__file__).parent) as folder:
        path = Path(folder) / "weights"
        path.write_bytes(os.urandom(3 * BLOCK_BYTES))
        if not evict(path):
            pytest.skip("this file system keeps everything in memory")
        await read_ahead([path], tell)
        assert sum(read_blocks) >= BLOCK_BYTES
        with path.open("rb") as stream:
            assert is_cached(stream.fileno(), 0, 3 * BLOCK_BYTES)
        read_blocks.clear()
        await read_ahead([path], tell)
        assert read_blocks == []
        assert told[-1] == (3 * BLOCK_BYTES, 3 * BLOCK_BYTES)


async def test_everything_is_read_where_the_system_does_not_tell_what_is_in_memory(
    tmp_path: Path, tell: Callable[[int, int], None], read_blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    (tmp_path / "weights").write_bytes(b"x" * (BLOCK_BYTES + 5))
    await read_ahead([tmp_path / "weights"], tell)
    assert read_blocks == [BLOCK_BYTES, 5]


async def test_files_that_do_not_fit_into_memory_are_left_alone(
    tmp_path: Path,
    tell: Callable[[int, int], None],
    told: list[tuple[int, int]],
    read_blocks: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readahead, "free_memory_bytes", lambda: 100)
    (tmp_path / "weights").write_bytes(b"x" * 101)
    await read_ahead([tmp_path / "weights"], tell)
    assert (read_blocks, told) == ([], [])


async def test_a_canceled_reading_ends_with_its_block_and_closes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").write_bytes(b"x" * (3 * BLOCK_BYTES))
    opened: list[FileIO] = []
    reading, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(FileIO):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

        def readinto(self, buffer: Any) -> int:
            loop.call_soon_threadsafe(reading.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return super().readinto(buffer) or 0

    monkeypatch.setattr(readahead, "FileIO", Slow)
    monkeypatch.setattr(readahead, "is_cached", lambda *_: False)
    task = asyncio.create_task(read_ahead([tmp_path / "weights"], lambda done, total: None))
    await reading.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not opened[0].closed
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened[0].closed


@pytest.mark.parametrize(
    ("info", "limit", "expected"),
    [
        ("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", None, 2 << 20),
        ("MemAvailable:    2048 kB\n", "1048576\n", 1 << 20),
        ("MemAvailable:    2048 kB\n", "max\n", 2 << 20),
        (None, None, 1 << 62),
    ],
)
def test_free_memory_is_what_system_and_container_can_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str | None, limit: str | None, expected: int
) -> None:
    for name, text in (("_MEMORY_INFO", info), ("_MEMORY_LIMIT", limit)):
        monkeypatch.setattr(readahead, name, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    assert free_memory_bytes() == expected
