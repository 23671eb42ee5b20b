"""Folders that an input names, on their way to the worker: listed, measured, then copied file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glowplug.artifact import SCHEME, ArtifactStore, Stat, checked_folder, checked_key
from glowplug.errors import BugError, InvalidInput, NotFound, TooLarge
from glowplug.lifecycle import in_thread
from glowplug.runtime.scratch import write_chunks
from glowplug.runtime.together import each

AT_ONCE = 8
SHOWN_NAMES, SHOWN_CHARACTERS = 3, 80


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """How much there may be in one folder that an input names."""

    files: int = 100_000
    size_bytes: int = 64 << 30


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the copy of a folder is: `files` of `total_files` are here; the `hidden` ones stay where they are."""

    folder: str
    files: int
    total_files: int
    total_bytes: int
    hidden: int = 0

    @property
    def note(self) -> str:
        """Return it in words."""
        mebibytes = self.total_bytes / (1 << 20)
        left_out = f"; {self.hidden} hidden ones are left out" if self.hidden else ""
        return f"fetching {self.folder}: {self.files} of {self.total_files} files, {mebibytes:.1f} MiB in all{left_out}"


Tell = Callable[[Copied], None]


def nobody(copied: Copied) -> None:
    """Hear how far a copy is, and do nothing."""
    del copied


async def fetch_folder(
    artifacts: ArtifactStore, key: str, target: Path, limits: FolderLimits | None = None, tell: Tell = nobody
) -> None:
    """Copy everything below the folder `key` to `target`; what is whole there already is not copied again.

    Hidden files, whose names begin with a dot, are left out and counted.

    Raises:
        NotFound: there is nothing below it.
        TooLarge: there is more than the limits allow; nothing is copied then.
        InvalidInput: it holds what no folder on a disk can, or names that no artifact can have: half a data set would
            be worse than none.
    """
    prefix = checked_folder(key)
    found = await _listed(artifacts, prefix, limits or FolderLimits())
    hidden = await _hidden(artifacts, prefix, len(found))
    if not found:
        raise NotFound(f"the input names {SCHEME}{key}, below which there is nothing; put the files there first")
    places = _places(found, prefix, target)
    size_bytes = sum(stat.size_bytes for stat in found)
    await _copy(artifacts, places, Copied(key, 0, len(found), size_bytes, hidden), tell)


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


async def _hidden(artifacts: ArtifactStore, prefix: str, count: int) -> int:
    """Return how many hidden files there are below a folder; refuse what else is no artifact."""
    hidden, strays, shown = 0, 0, list[str]()
    async for name in artifacts.strays(prefix):
        if any(part.startswith(".") for part in name.split("/")):
            hidden += 1
            continue
        strays += 1
        if strays <= SHOWN_NAMES:
            shown.append(repr(name.removeprefix(f"{prefix}/")[:SHOWN_CHARACTERS]))
    if strays:
        more = f" and {strays - SHOWN_NAMES} more" if strays > SHOWN_NAMES else ""
        raise InvalidInput(
            f"{SCHEME}{prefix}/ holds {count + strays} files, of which {strays} can be no artifacts: "
            f"{', '.join(shown)}{more}; give them plain names (letters from a to z, digits, spaces and . _ - + @ =, a "
            "letter or digit first in each part), and copies in place of links"
        )
    return hidden


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
            await _write(artifacts, stat, path)
        done += 1
        tell(replace(begun, files=done))

    tell(begun)
    await each(places, bring, AT_ONCE)


async def _write(artifacts: ArtifactStore, stat: Stat, path: Path) -> None:
    try:
        await write_chunks(path, artifacts.read(stat.key))
    except NotFound:
        if stat.size_bytes:
            raise
        # What a console writes for an empty folder is listed without its slash, and is nothing under that name.
        await in_thread(None, path.unlink, True)


def _is_whole(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False
