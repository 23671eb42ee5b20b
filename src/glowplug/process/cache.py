"""The weights on this machine: a folder for each address, locked while it is made or used; the least used go first."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from glowplug.errors import SettingsError

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
PARTIAL, LOCK = ".partial", ".lock"
MANIFEST, FILES = "manifest.json", "files"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as it was fetched and verified; `name` is its path within the folder."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What lies in a complete folder; `single` says that the address was of one file."""

    url: str
    single: bool
    files: tuple[FileRecord, ...]


class CacheEntry:
    """The place of one address in the cache.

    `<name>-<hash>/` is there only when it is complete, `<name>-<hash>.partial/` while it is fetched. Whoever fetches or
    removes it holds the lock alone, whoever uses it holds it with others; a process that dies holds nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder.with_name(folder.name + PARTIAL)
        self._lock_file = folder.with_name(folder.name + LOCK)
        self._descriptor: int | None = None

    @classmethod
    def of(cls, cache: Path, url: str) -> CacheEntry:
        """Return the place of `url` below `cache`."""
        last = urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[:48] or "weights"
        return cls(cache / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}")

    def try_lock(self, *, alone: bool) -> bool:
        """Take the lock, or change how it is held, without waiting; False if others are in the way.

        Raises:
            SettingsError: the cache cannot be written to, and the lock is wanted alone.
        """
        try:
            descriptor = self._open_lock()
        except OSError as error:
            # Weights that were put into a read-only image can be used, for nobody can remove them.
            if not alone and self.complete() is not None:
                return True
            raise SettingsError(
                f"the cache folder {self.folder.parent} cannot be written to: {error.strerror}; name another"
            ) from error
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return True
        self.unlock()
        return False

    def unlock(self) -> None:
        """Let the lock go; harmless without it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def complete(self) -> Manifest | None:
        """Return the manifest if every file of it is there with its size, else None."""
        try:
            read = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            manifest = Manifest(read["url"], read["single"], tuple(FileRecord(**file) for file in read["files"]))
            sizes = [(self.folder / FILES / file.name).stat().st_size for file in manifest.files]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return manifest if sizes == [file.size_bytes for file in manifest.files] else None

    def path_of(self, manifest: Manifest) -> Path:
        """Return what a model is given: the one file, or the folder of all."""
        files = self.folder / FILES
        return files / manifest.files[0].name if manifest.single else files

    def publish(self, manifest: Manifest) -> None:
        """Turn the partial folder, whose files are synced, into the complete one."""
        wanted = {self.partial / FILES / file.name for file in manifest.files}
        for left in [path for path in self.partial.rglob("*") if path.is_file() and path not in wanted]:
            left.unlink()
        with (self.partial / MANIFEST).open("w", encoding="utf-8") as stream:
            json.dump(asdict(manifest), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        for folder in [path for path in self.partial.rglob("*") if path.is_dir()] + [self.partial]:
            sync_folder(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.partial.rename(self.folder)
        sync_folder(self.folder.parent)

    def mark_used(self) -> None:
        """Remember that the weights were used now."""
        with suppress(OSError):
            os.utime(self._lock_file)

    def last_used(self) -> float:
        """Return when they were used last, in seconds of the file system's clock."""
        return self._lock_file.stat().st_mtime

    def size_bytes(self) -> int:
        """Return the room that the complete and the partial folder take."""
        return sum(path.lstat().st_blocks * 512 for root in (self.folder, self.partial) for path in root.rglob("*"))

    def remove(self) -> None:
        """Delete both folders; the lock file stays, for another process may be about to lock it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)

    def _open_lock(self) -> int:
        if self._descriptor is None:
            self._lock_file.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        return self._descriptor


def entries(cache: Path) -> list[CacheEntry]:
    """Return every place in the cache, of complete weights and of those that are being fetched."""
    return [CacheEntry(lock.with_suffix("")) for lock in cache.glob(f"*{LOCK}")]


def clean(cache: Path, keep_bytes: int) -> int:
    """Remove the least recently used weights until at most `keep_bytes` are left; return how many bytes went.

    What is locked, because it is fetched or in use, stays in any case.
    """
    sizes: Mapping[CacheEntry, int] = {entry: entry.size_bytes() for entry in entries(cache)}
    left = sum(sizes.values())
    removed = 0
    for entry in sorted(sizes, key=CacheEntry.last_used):
        if left - removed <= keep_bytes:
            break
        if sizes[entry] and entry.try_lock(alone=True):
            entry.remove()
            entry.unlock()
            removed += sizes[entry]
    return removed


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
