"""Folders that an input names, on their way to the worker: listed, measured, then copied file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glowplug.artifact import SCHEME, ArtifactStore, Stat, checked_folder, checked_key
from glowplug.errors import BugError, InvalidInput, NotFound, TooLarge
from glowplug.runtime.scratch import write_chunks
from glowplug.runtime.together import each

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """How much there may be in one folder that an input names."""

    files: int = 100_000
    size_bytes: int = 64 << 30


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the copy of a folder is: `files` of `total_files` are here."""

    folder: str
    files: int
    total_files: int
    total_bytes: int

    @property
    def note(self) -> str:
        """Return it in words."""
        mebibytes = self.total_bytes / (1 << 20)
        return f"fetching {self.folder}: {self.files} of {self.total_files} files, {mebibytes:.1f} MiB in all"


Tell = Callable[[Copied], None]


def nobody(copied: Copied) -> None:
    """Hear how far a copy is, and do nothing."""
    del copied


async def fetch_folder(
    artifacts: ArtifactStore, key: str, target: Path, limits: FolderLimits | None = None, tell: Tell = nobody
) -> None:
    """Copy everything below the folder `key` to `target`; what is whole there already is not copied again.

    Raises:
        NotFound: there is nothing below it.
        TooLarge: there is more than the limits allow; nothing is copied then.
        InvalidInput: it holds what no folder on a disk can.
    """
    prefix = checked_folder(key)
    found = await _listed(artifacts, prefix, limits or FolderLimits())
    if not found:
        raise NotFound(f"the input names {SCHEME}{key}, below which there is nothing; put the files there first")
    places = _places(found, prefix, target)
    await _copy(artifacts, places, Copied(key, 0, len(found), sum(stat.size_bytes for stat in found)), tell)


async def _listed(artifacts: ArtifactStore, prefix: str, limits: FolderLimits) -> list[Stat]:
    found: list[Stat] = []
    size_bytes = 0
    async for stat in artifacts.walk(prefix):
        found.append(stat)
        size_bytes += stat.size_bytes
        if len(found) > limits.files:
            raise TooLarge(
                f"{SCHEME}{prefix}/ holds more than {limits.files} files; split it, or let the operator raise "
                "GLOWPLUG_WORKER_MAX_FOLDER_FILES",
                limit_files=limits.files,
            )
        if size_bytes > limits.size_bytes:
            raise TooLarge(
                f"{SCHEME}{prefix}/ holds more than {limits.size_bytes} bytes; split it, or let the operator raise "
                "GLOWPLUG_WORKER_MAX_FOLDER_BYTES",
                limit_bytes=limits.size_bytes,
            )
    return found


def _places(found: Sequence[Stat], prefix: str, target: Path) -> list[tuple[Stat, Path]]:
    """Return where each object goes: below `target`, whatever a store says that it has found."""
    keys = {stat.key for stat in found}
    places = []
    for stat in found:
        if not stat.key.startswith(f"{prefix}/"):
            raise BugError(f"a listing of {prefix!r} names {stat.key[:80]!r}, which is not in it")
        inside = checked_key(stat.key.removeprefix(f"{prefix}/"))
        if any(f"{prefix}/{above}" in keys for above in _above(inside)):
            raise InvalidInput(f"{stat.key!r} lies below another object, as in no folder; rename one of the two")
        places.append((stat, target / inside))
    return places


def _above(inside: str) -> Iterator[str]:
    parts = inside.split("/")[:-1]
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))


async def _copy(artifacts: ArtifactStore, places: Sequence[tuple[Stat, Path]], begun: Copied, tell: Tell) -> None:
    done = 0

    async def bring(place: tuple[Stat, Path]) -> None:
        nonlocal done
        stat, path = place
        if not _is_whole(path, stat.size_bytes):
            await write_chunks(path, artifacts.read(stat.key))
        done += 1
        tell(Copied(begun.folder, done, begun.total_files, begun.total_bytes))

    tell(begun)
    await each(places, bring, AT_ONCE)


def _is_whole(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False
