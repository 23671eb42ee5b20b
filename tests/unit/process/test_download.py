"""Files come in parallel ranges; what breaks now and then is asked for again."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.servers.counting_store import CountingStore

from glowplug.artifact import ArtifactStore
from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import DiskFull, GlowplugError, NotFound, RemoteError, SettingsError, Unreachable
from glowplug.process import download
from glowplug.process.download import PARALLEL, Download, RemoteFile
from glowplug.testing.artifacts import pattern, pieces

pytestmark = pytest.mark.timeout(60)

BLOCK = 64 << 10


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BLOCK_BYTES", BLOCK)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[CountingStore]:
    async with CountingStore(tmp_path / "source") as source:
        yield source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "partial" / "files"


async def remote(source: ArtifactStore, name: str, content: bytes) -> RemoteFile:
    await source.put(name, pieces(content))
    stat = await source.stat(name)
    return RemoteFile(name, name, stat.size_bytes, stat.modified_at.isoformat())


def ignore(done_bytes: int) -> None:
    del done_bytes


async def test_the_digest_of_every_file_is_told(source: CountingStore, folder: Path) -> None:
    contents = {"net.bin": pattern(5 * BLOCK + 3), "sub/one": b"1", "sub/empty": b"", "exact": pattern(2 * BLOCK)}
    files = [await remote(source, name, content) for name, content in contents.items()]
    told: list[int] = []
    digests = await Download(source, files, folder, clock=SystemClock()).run(told.append)
    assert digests == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert {name: (folder / name).read_bytes() for name in contents} == contents
    assert told == sorted(told)
    assert told[-1] == sum(map(len, contents.values()))


async def test_bytes_are_told_as_they_come_and_not_only_when_a_block_is_whole(
    source: CountingStore, folder: Path
) -> None:
    file = await remote(source, "net.bin", pattern(2 * BLOCK))
    told: list[int] = []

    class Dripping(CountingStore):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            async for piece in super().read(key, start=start, end=end):
                for at in range(0, len(piece), BLOCK // 4):
                    yield piece[at : at + BLOCK // 4]

    async with Dripping(source._root) as dripping:
        await Download(dripping, [file], folder, clock=SystemClock()).run(told.append)
    assert told[0] == 0
    assert set(told) == set(range(0, 2 * BLOCK + 1, BLOCK // 4))


async def test_a_range_that_broke_off_is_no_step_back(source: CountingStore, folder: Path) -> None:
    file = await remote(source, "net.bin", pattern(BLOCK))
    told: list[int] = []
    broken = False

    class Breaking(CountingStore):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            nonlocal broken
            async for piece in super().read(key, start=start, end=end):
                yield piece[: BLOCK // 2]
                if not broken:
                    broken = True
                    raise Unreachable("broke off")
                yield piece[BLOCK // 2 :]

    clock = ManualClock()
    async with Breaking(source._root) as breaking:
        downloading = asyncio.create_task(Download(breaking, [file], folder, clock=clock).run(told.append))
        while not downloading.done():
            await clock.advance(1)
            await asyncio.sleep(0.001)
        await downloading
    assert told == sorted(told)
    assert told[-1] == BLOCK


async def test_a_large_file_comes_in_several_ranges_at_once_but_not_in_too_many(
    source: CountingStore, folder: Path
) -> None:
    file = await remote(source, "net.bin", pattern(4 * PARALLEL * BLOCK))
    under_way, most = 0, 0
    all_there = asyncio.Event()

    class Watching(CountingStore):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == PARALLEL:
                all_there.set()
            await all_there.wait()
            async for piece in super().read(key, start=start, end=end):
                yield piece
            under_way -= 1

    async with Watching(source._root) as watching:
        await Download(watching, [file], folder, clock=SystemClock()).run(ignore)
    assert most == PARALLEL


async def test_a_broken_range_is_asked_for_again_after_growing_pauses_and_then_given_up(
    source: CountingStore, folder: Path
) -> None:
    file = await remote(source, "net.bin", pattern(BLOCK))
    clock = ManualClock()
    source.failures = [Unreachable("hiccup")] * 3
    downloading = asyncio.create_task(Download(source, [file], folder, clock=clock).run(ignore))
    while not downloading.done():
        await clock.advance(1)
        await asyncio.sleep(0.001)
    assert (await downloading).keys() == {"net.bin"}
    assert clock.monotonic() >= 0.5 + 1 + 2

    source.failures = [Unreachable("gone")] * 100
    (folder / "net.bin").write_bytes(b"")
    downloading = asyncio.create_task(Download(source, [file], folder, clock=clock).run(ignore))
    while not downloading.done():
        await clock.advance(1)
        await asyncio.sleep(0.001)
    with pytest.raises(Unreachable, match="gone"):
        await downloading


async def test_a_file_that_got_shorter_is_not_taken_for_whole(source: CountingStore, folder: Path) -> None:
    file = await remote(source, "net.bin", pattern(2 * BLOCK))
    await source.put("net.bin", pieces(b"short"))
    clock = ManualClock()
    downloading = asyncio.create_task(Download(source, [file], folder, clock=clock).run(ignore))
    while not downloading.done():
        await clock.advance(1)
        await asyncio.sleep(0.001)
    with pytest.raises(Unreachable, match="ended early"):
        await downloading


async def test_one_failure_ends_all_ranges_and_is_told_as_it_is(source: CountingStore, folder: Path) -> None:
    files = [await remote(source, f"net-{number}", pattern(3 * BLOCK)) for number in range(5)]
    await source.delete("net-3")
    with pytest.raises(NotFound):
        await Download(source, files, folder, clock=SystemClock()).run(ignore)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, SettingsError),
        (errno.EACCES, SettingsError),
        (errno.EIO, RemoteError),
    ],
)
async def test_what_the_disk_says_is_translated(
    source: CountingStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[GlowplugError]
) -> None:
    file = await remote(source, "net.bin", pattern(BLOCK))

    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("glowplug.process.download.os.fsync", failing)
    with pytest.raises(kind, match=str(folder)):
        await Download(source, [file], folder, clock=SystemClock()).run(ignore)


async def test_a_journal_grows_by_one_line_for_each_block_and_not_with_each_try(
    source: CountingStore, folder: Path
) -> None:
    file = await remote(source, "net.bin", pattern(6 * BLOCK))
    lines: Callable[[], int] = lambda: len((folder.parent / "journal").read_bytes().splitlines())  # noqa: E731
    for _ in range(3):
        await Download(source, [file], folder, clock=SystemClock()).run(ignore)
        assert lines() == 6
    assert len(source.reads) == 6
