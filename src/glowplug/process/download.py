"""Bringing files from an artifact store into a folder: in parallel ranges, resumable after any end, hashed on the way.

A journal beside the files has one line for each block that was written, with its checksum. After a kill, or a power cut
that lost some of the writes, the blocks whose bytes still match are kept and only the others are fetched.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.artifact import ArtifactStore
from glowplug.clock import Clock
from glowplug.errors import DeadlineExceeded, DiskFull, RemoteError, SettingsError, Unreachable
from glowplug.lifecycle import in_thread

BLOCK_BYTES = 8 << 20
PARALLEL = 8
THREADS = 4
JOURNAL = "journal"
ENTRY = {"name", "version", "start", "size", "crc"}
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to bring: its path in the folder, its key in the store, and the version that `modified_at` stands for."""

    name: str
    key: str
    size_bytes: int
    modified_at: str

    def blocks(self) -> Iterator[Block]:
        """Yield the ranges that are fetched one at a time."""
        for start in range(0, self.size_bytes, BLOCK_BYTES):
            yield Block(self, start, min(BLOCK_BYTES, self.size_bytes - start))


@dataclass(frozen=True, slots=True)
class Block:
    """A range of a file."""

    file: RemoteFile
    start: int
    size_bytes: int


class Download:
    """One bringing of `files` from `store` into `folder`, which may hold the beginnings of an earlier one."""

    def __init__(self, store: ArtifactStore, files: Sequence[RemoteFile], folder: Path, *, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._folder = folder
        self._clock = clock
        self._journal = folder.with_name(JOURNAL)
        self._arrived = {block: asyncio.Event() for file in files for block in file.blocks()}
        self._done_bytes = self._told_bytes = 0
        self._coming: dict[Block, int] = {}

    async def run(self, report: Callable[[int], None]) -> dict[str, str]:
        """Bring what is missing and return the SHA-256 of each file; `report` gets the bytes that are there.

        Raises:
            DiskFull: there is not enough room; nothing was fetched if that could be foreseen.
            Unreachable: the store went away, or a file got shorter meanwhile; what has come is kept.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="weights") as threads:
            await in_thread(threads, self._prepare)
            await self._keep(threads, report)
            self._check_room()
            try:
                return await self._bring_missing(threads, report)
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors

    async def _bring_missing(self, threads: Executor, report: Callable[[int], None]) -> dict[str, str]:
        missing = iter([block for block, arrived in self._arrived.items() if not arrived.is_set()])
        self._tell(report)
        async with asyncio.TaskGroup() as group:
            hashes = {file.name: group.create_task(self._hash(threads, file)) for file in self._files}
            for _ in range(PARALLEL):
                group.create_task(self._fetch(threads, missing, report))
        return {name: task.result() for name, task in hashes.items()}

    async def _keep(self, threads: Executor, report: Callable[[int], None]) -> None:
        """Count the blocks whose bytes are what the journal says as arrived, and forget the others."""
        known = {_identity(block): block for block in self._arrived}
        kept: dict[Block, bytes] = {}
        for line, entry in await in_thread(threads, lambda: list(_journal_lines(self._journal))):
            block = known.get((entry["name"], entry["version"], entry["start"], entry["size"]))
            if block is None or block in kept:
                continue
            if zlib.crc32(await in_thread(threads, self._read, block)) == entry["crc"]:
                kept[block] = line
                self._arrive(block, report)
        await in_thread(threads, self._rewrite_journal, kept.values())

    async def _fetch(self, threads: Executor, missing: Iterator[Block], report: Callable[[int], None]) -> None:
        for block in missing:
            data = await self._read_remote(block, report)
            await in_thread(threads, self._write, block, data)
            self._arrive(block, report)

    async def _read_remote(self, block: Block, report: Callable[[int], None]) -> bytearray:
        for attempt in range(ATTEMPTS):
            try:
                return await self._read_remote_once(block, report)
            except (Unreachable, DeadlineExceeded):
                if attempt == ATTEMPTS - 1:
                    raise
                await self._clock.sleep(FIRST_PAUSE_SECONDS * 2.0**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _read_remote_once(self, block: Block, report: Callable[[int], None]) -> bytearray:
        data = bytearray()
        end = block.start + block.size_bytes
        async for piece in self._store.read(block.file.key, start=block.start, end=end):
            data += piece
            self._coming[block] = len(data)
            self._tell(report)
        if len(data) != block.size_bytes:
            raise Unreachable(f"{block.file.key} ended early: it changed, or the connection broke; try again")
        return data

    def _arrive(self, block: Block, report: Callable[[int], None]) -> None:
        self._arrived[block].set()
        self._coming.pop(block, None)
        self._done_bytes += block.size_bytes
        self._tell(report)

    def _tell(self, report: Callable[[int], None]) -> None:
        # Whole blocks would come in leaps, all ranges at once; a range that broke off and begins anew is no step back.
        self._told_bytes = max(self._told_bytes, self._done_bytes + sum(self._coming.values()))
        report(self._told_bytes)

    async def _hash(self, threads: Executor, file: RemoteFile) -> str:
        digest = hashlib.sha256()
        for block in file.blocks():
            await self._arrived[block].wait()
            digest.update(await in_thread(threads, self._read, block))
        await in_thread(threads, self._sync, file)
        return digest.hexdigest()

    def _prepare(self) -> None:
        """Make every file with its full size, empty where nothing was written yet."""
        with _disk_errors(self._folder):
            for file in self._files:
                path = self._folder / file.name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with path.open("ab") as stream:
                    stream.truncate(file.size_bytes)

    def _rewrite_journal(self, lines: Iterable[bytes]) -> None:
        with _disk_errors(self._folder):
            fresh = self._journal.with_suffix(".new")
            fresh.write_bytes(b"".join(lines))
            fresh.replace(self._journal)

    def _check_room(self) -> None:
        wanted = sum(file.size_bytes for file in self._files) - self._done_bytes
        free = shutil.disk_usage(self._folder).free
        if wanted > free:
            raise _no_room(self._folder, wanted)

    def _read(self, block: Block) -> bytes:
        with (self._folder / block.file.name).open("rb", buffering=0) as stream:
            stream.seek(block.start)
            return stream.read(block.size_bytes)

    def _write(self, block: Block, data: bytearray) -> None:
        name, version, start, size = _identity(block)
        entry = {"name": name, "version": version, "start": start, "size": size, "crc": zlib.crc32(data)}
        with _disk_errors(self._folder):
            with (self._folder / block.file.name).open("r+b") as stream:
                stream.seek(block.start)
                stream.write(data)
            with self._journal.open("ab", buffering=0) as journal:
                journal.write(json.dumps(entry).encode() + b"\n")

    def _sync(self, file: RemoteFile) -> None:
        with _disk_errors(self._folder), (self._folder / file.name).open("rb") as stream:
            os.fsync(stream.fileno())


def journaled_bytes(folder: Path) -> int:
    """Return how much another process has brought into `folder` so far."""
    blocks = {(entry["name"], entry["start"]): entry["size"] for _, entry in _journal_lines(folder.with_name(JOURNAL))}
    return sum(blocks.values())


def _journal_lines(journal: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    with suppress(FileNotFoundError):
        for line in journal.read_bytes().splitlines(keepends=True):
            entry = _entry(line)
            if entry is not None:
                yield line, entry


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None for one that a kill has cut off, whose block is then fetched again."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    sane = isinstance(entry, dict) and entry.keys() >= ENTRY and isinstance(entry["size"], int)
    return entry if sane else None


def _identity(block: Block) -> tuple[str, str, int, int]:
    return block.file.name, f"{block.file.modified_at}/{block.file.size_bytes}", block.start, block.size_bytes


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(folder) from error
        if error.errno in REFUSED:
            raise SettingsError(f"the cache folder {folder} cannot be written to: {error.strerror}") from error
        raise RemoteError(f"the disk of {folder} fails: {error.strerror}") from error


def _no_room(folder: Path, wanted_bytes: int | None = None) -> DiskFull:
    free = shutil.disk_usage(folder).free
    wanted = "" if wanted_bytes is None else f"{wanted_bytes:,} bytes are needed, "
    return DiskFull(
        f"no room for weights in {folder}: {wanted}{free:,} are free; free some, or name another cache folder",
        path=str(folder),
        wanted_bytes=wanted_bytes,
        free_bytes=free,
    )
