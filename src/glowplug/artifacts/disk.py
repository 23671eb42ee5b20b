"""Artifacts in a folder on this machine: each object is a file whose path is its key.

Written with plain system calls, because obstore's local store does not sync what it writes. The media type is not
kept: the name's ending tells it, and survives copies and file systems without extended attributes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import uuid4

from glowplug.artifact import PIECE_BYTES, Artifact, ArtifactStore, Stat, checked_key, checked_range, is_key
from glowplug.errors import BugError, DiskFull, GlowplugError, InvalidInput, NotFound, RemoteError, SettingsError
from glowplug.lifecycle import in_thread

P = ParamSpec("P")
R = TypeVar("R")

# No key has a part that begins with a dot, so nothing stored can ever lie in here.
UPLOADS = ".uploads"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
ABSENT = {errno.ENOENT, errno.ENOTDIR}
THREADS = 16
WALK_BATCH = 500
MOVE_ATTEMPTS = 10


class DiskArtifacts(ArtifactStore):
    """Artifacts below the folder `root`, readable by their owner alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads: ThreadPoolExecutor | None = None

    async def _start(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="artifacts")
        self._root = await self._call(_prepare, self._root)

    async def _stop(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await in_thread(None, threads.shutdown)

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Write beside the store, sync, rename into place, sync the folder."""
        upload = await self._call(_Upload, self._root, key)
        try:
            async for chunk in chunks:
                await self._call(upload.write, chunk)
            await self._call(upload.commit)
        finally:
            upload.close()
        return Artifact(key, upload.size_bytes, upload.digest.hexdigest(), media_type)

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the file's bytes; what is put under the key meanwhile does not mix in."""
        checked_range(start, end)
        descriptor = await self._call(_open, self._root, key)
        try:
            while end is None or start < end:
                wanted = PIECE_BYTES if end is None else min(PIECE_BYTES, end - start)
                piece = await self._call(os.pread, descriptor, wanted, start)
                if not piece:
                    return
                yield piece
                start += len(piece)
        finally:
            os.close(descriptor)

    async def stat(self, key: str) -> Stat:
        """Return what the file system says."""
        return await self._call(_stat, self._root, key)

    async def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        await self._call(_delete, self._root, key)

    async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield the files below the folder, those of one folder together."""
        folder = await self._call(_checked_path, self._root, prefix) if prefix else self._root
        found = _walk(self._root, folder)
        while batch := await self._call(lambda: list(islice(found, WALK_BATCH))):
            for one in batch:
                yield one

    async def strays(self, prefix: str) -> AsyncIterator[str]:
        """Yield the files whose names are no keys, and what is no file, as a link is."""
        found = _strays(self._root, await self._call(_checked_path, self._root, prefix))
        while batch := await self._call(lambda: list(islice(found, WALK_BATCH))):
            for one in batch:
                yield one

    async def _call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._threads is None:
            raise BugError(f"the artifact store {self._root} is used before start or after stop")
        try:
            return await in_thread(self._threads, call, *args, **kwargs)
        except OSError as error:
            raise _translated(error, self._root) from error


class _Upload:
    """A file that becomes an object, or vanishes; locked, so that nobody sweeps it while its writer lives."""

    def __init__(self, root: Path, key: str) -> None:
        self._target = _checked_path(root, key)
        self._path = root / UPLOADS / uuid4().hex
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._root = root
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.digest.update(chunk)
        self.size_bytes += len(chunk)

    def commit(self) -> None:
        os.fsync(self._descriptor)
        try:
            self._move()
        except (NotADirectoryError, IsADirectoryError) as error:
            key = self._target.relative_to(self._root).as_posix()
            raise InvalidInput(f"{key!r} would be both a folder and an artifact; choose another name") from error
        with suppress(FileNotFoundError):
            _sync_folder(self._target.parent)

    def _move(self) -> None:
        for _ in range(MOVE_ATTEMPTS):
            # A delete next door may remove the folder as empty, at any moment before the rename.
            with suppress(FileNotFoundError):
                _make_folder(self._root, self._target.parent)
                self._path.rename(self._target)
                return
        raise RemoteError(f"the folder of {self._target} vanishes while it is written to")

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _prepare(root: Path) -> Path:
    """Make the folders, try a write, sweep what dead writers left; return the root with its links resolved."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = root.resolve()
        (root / UPLOADS).mkdir(mode=0o700, exist_ok=True)
        _Upload(root, "probe").close()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise _unusable(root, error) from error
    for left in (root / UPLOADS).iterdir():
        with suppress(FileNotFoundError, BlockingIOError):
            _sweep(left)
    return root


def _sweep(left: Path) -> None:
    descriptor = os.open(left, os.O_WRONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        left.unlink()
    finally:
        os.close(descriptor)


def _checked_path(root: Path, key: str) -> Path:
    path = root / checked_key(key)
    if os.path.realpath(path) != str(path):
        raise InvalidInput(f"the artifact {key!r} is reached through a link, which could lead out of the store")
    return path


def _open(root: Path, key: str) -> int:
    # Not blocking: the opening of a pipe that somebody left there would wait for ever.
    descriptor = os.open(_checked_path(root, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotFound(f"no artifact {key!r}", key=key)
    return descriptor


def _stat(root: Path, key: str) -> Stat:
    found = _checked_path(root, key).lstat()
    if not stat.S_ISREG(found.st_mode):
        raise NotFound(f"no artifact {key!r}", key=key)
    return _stat_of(key, found)


def _delete(root: Path, key: str) -> None:
    path = _checked_path(root, key)
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()
    with suppress(OSError):
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder).rmdir()


def _walk(root: Path, folder: Path) -> Iterator[Stat]:
    folders = [folder]
    while folders:
        for entry in _entries(folders.pop()):
            found = _entry_stat(root, entry)
            if found is not None and entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif found is not None:
                yield found


def _strays(root: Path, folder: Path) -> Iterator[str]:
    folders = [folder]
    while folders:
        for entry in _entries(folders.pop()):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif not (is_key(name) and entry.is_file(follow_symlinks=False)):
                yield name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry_stat(root: Path, entry: os.DirEntry[str]) -> Stat | None:
    """Return what is known of a file or folder; None for a link, a pipe, a name that is no key, and what is gone."""
    with suppress(FileNotFoundError, InvalidInput):
        key = checked_key(Path(entry.path).relative_to(root).as_posix())
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            return _stat_of(key, found)
    return None


def _stat_of(key: str, found: os.stat_result) -> Stat:
    return Stat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _make_folder(root: Path, folder: Path) -> None:
    inside = folder.relative_to(root)
    for part in [*reversed(inside.parents[:-1]), inside]:
        with suppress(FileExistsError):
            (root / part).mkdir(mode=0o700)
            _sync_folder((root / part).parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: OSError, root: Path) -> GlowplugError:
    if error.errno in FULL:
        free = shutil.disk_usage(root).free
        return DiskFull(f"no room to write in {root} ({free} bytes free); free some", path=str(root), free_bytes=free)
    if error.errno in REFUSED:
        return _unusable(root, error)
    if error.errno in ABSENT:
        return NotFound("there is no such artifact")
    return RemoteError(f"the artifact folder {root} fails: {error.strerror}", errno=error.errno)


def _unusable(root: Path, error: OSError) -> SettingsError:
    return SettingsError(f"the artifact folder {root} cannot be used: {error.strerror}; name a writable folder")
