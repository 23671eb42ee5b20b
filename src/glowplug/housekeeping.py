"""Makes room by hand: what a running gateway's own retention does not reach, and all of it where that is asked for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.errors import SettingsError
from glowplug.settings import Settings


@dataclass(frozen=True, slots=True)
class Rubbish:
    """Something that can go: a file or folder, its size, and what it is."""

    path: Path
    size_bytes: int
    what: str


def find_rubbish(settings: Settings, *, cache: bool = False, everything: bool = False) -> list[Rubbish]:
    """List what can go: leftovers of runs and old logs; `cache` adds weights, `everything` jobs and results too."""
    folder = DataFolder(settings.data)
    found = [*_inside(folder.scratch, "scratch")]
    oldest = time.time() - settings.retention.logs_seconds
    found += [one for one in _inside(folder.logs, "old log") if one.path.stat().st_mtime < oldest]
    if cache or everything:
        found += _inside(settings.cache, "cache")
    if everything:
        taken = {one.path for one in found} | {folder.lock, folder.scratch, folder.logs, folder.gateway_file}
        found += [one for one in _inside(folder.root, "data") if one.path not in taken]
    return found


def remove(settings: Settings, rubbish: list[Rubbish]) -> int:
    """Delete, while no gateway uses the data folder, and return the bytes freed. Raises `SettingsError`."""
    if not rubbish:
        return 0
    DataFolder(settings.data).prepare()
    with GatewayLock(DataFolder(settings.data)):
        for one in rubbish:
            try:
                shutil.rmtree(one.path) if one.path.is_dir() and not one.path.is_symlink() else one.path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SettingsError(f"cannot delete {one.path}: {error.strerror}") from error
    return sum(one.size_bytes for one in rubbish)


def _inside(folder: Path, what: str) -> Iterator[Rubbish]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield Rubbish(path, _size(path), what)


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
