"""Makes room by hand: what a running gateway's own retention does not reach, and all of it where that is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.errors import SettingsError
from glowplug.process.cache import clean, entries
from glowplug.settings import Settings

WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class Rubbish:
    """Something that can go: a file or folder, its size, and what it is."""

    path: Path
    size_bytes: int
    what: str


def find_rubbish(settings: Settings, *, cache: bool = False, everything: bool = False) -> list[Rubbish]:
    """List what can go: leftovers of runs; `cache` adds weights and load history, `everything` jobs and results too."""
    folder = DataFolder(settings.data)
    found = [*_inside(folder.scratch, "scratch")]
    if cache or everything:
        weights = settings.cache / WEIGHTS
        size_bytes = sum(entry.size_bytes() for entry in entries(weights))
        found += [Rubbish(weights, size_bytes, WEIGHTS)] if size_bytes else []
        found += [one for one in _inside(settings.cache, "cache") if one.path != weights]
    if everything:
        taken = {one.path for one in found} | {folder.lock, folder.scratch, folder.gateway_file}
        found += [one for one in _inside(folder.root, "data") if one.path not in taken]
    return found


def remove(settings: Settings, rubbish: list[Rubbish]) -> int:
    """Delete, while no gateway uses the data folder, and return the bytes freed. Raises `SettingsError`.

    Weights that some process on this machine fetches or uses stay.
    """
    if not rubbish:
        return 0
    DataFolder(settings.data).prepare()
    with GatewayLock(DataFolder(settings.data)):
        return sum(_removed_bytes(one) for one in rubbish)


def _removed_bytes(one: Rubbish) -> int:
    if one.what == WEIGHTS:
        return clean(one.path, keep_bytes=0)
    try:
        shutil.rmtree(one.path) if one.path.is_dir() and not one.path.is_symlink() else one.path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise SettingsError(f"cannot delete {one.path}: {error.strerror}") from error
    return one.size_bytes


def _inside(folder: Path, what: str) -> Iterator[Rubbish]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield Rubbish(path, _size(path), what)


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
