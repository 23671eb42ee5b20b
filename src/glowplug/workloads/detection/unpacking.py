"""An uploaded zip of a data set, unpacked below one folder: nothing leaves it, and no small file becomes a huge one."""

from __future__ import annotations

import errno
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from glowplug.errors import DiskFull, InvalidInput

MOST_ENTRIES = 1_000_000
DEEPEST = 32
"""Folders in folders: what Python creates and removes step by step must end before its stack does."""
LARGEST_BYTES = 200 << 30
FREE_BYTES = 1 << 30
LARGEST_RATIO = 100
PIECE_BYTES = 1 << 20
SHOWN = 20
ENCRYPTED = 0x1
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others take as much memory as they like, and fail in words of their own."""
LEFT_OUT = ("__MACOSX", ".DS_Store")


def unpacked(archive: Path, folder: Path, check: Callable[[], None]) -> Path:
    """Unpack `archive` into `folder` and return the data set's root in it; `check` is called at each piece.

    Raises:
        InvalidInput: it is no zip, is broken, holds a path outside of it or a link, or is a bomb.
        DiskFull: there is no room.
    """
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as held:
            entries = _checked(held, archive.stat().st_size)
            left = _allowed(archive.stat().st_size)
            for entry, name in entries:
                check()
                left -= _write(held, entry, folder / name, left, check)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, ValueError) as error:
        raise _refused(f"not a zip that can be read: {error}") from error
    except OSError as error:
        raise _told(error) from error
    return root_of(folder)


def root_of(folder: Path) -> Path:
    """Return the folder itself, or the only one in it, where that is what was packed."""
    while not any((folder / name).exists() for name in ("images", "train", "data.yaml", "data.yml", "dataset.yaml")):
        inner = [path for path in folder.iterdir() if path.name not in LEFT_OUT]
        if len(inner) != 1 or not inner[0].is_dir() or inner[0].is_symlink():
            break
        folder = inner[0]
    return folder


def _checked(held: zipfile.ZipFile, packed_bytes: int) -> list[tuple[zipfile.ZipInfo, str]]:
    entries = held.infolist()
    if len(entries) > MOST_ENTRIES:
        raise _refused(f"more than {MOST_ENTRIES} files")
    wrong = [f"{entry.filename[:80]!r}: {why}" for entry in entries for why in _wrong(entry)]
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise _refused("\n".join(["not unpacked, because of", *wrong[:SHOWN], *more]))
    if sum(entry.file_size for entry in entries) > _allowed(packed_bytes):
        raise _refused(f"unpacked it would be more than {_allowed(packed_bytes)} bytes")
    kept = [entry for entry in entries if not entry.is_dir()]
    return [(entry, entry.filename) for entry in kept if not set(entry.filename.split("/")) & set(LEFT_OUT)]


def _wrong(entry: zipfile.ZipInfo) -> Iterator[str]:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not parts:
        yield "a path outside the archive"
    elif not name.isprintable():
        yield "a name that cannot be printed"
    if len(parts) > DEEPEST:
        yield f"more than {DEEPEST} folders deep"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield "a link or a device, not a file"
    if entry.flag_bits & ENCRYPTED:
        yield "encrypted"
    if entry.compress_type not in PACKED:
        yield "packed in a way other than deflate; pack it with zip's usual one"


def _allowed(packed_bytes: int) -> int:
    """Return how many bytes an archive of that size may become: pictures are packed already, and labels are small."""
    return min(LARGEST_BYTES, max(FREE_BYTES, packed_bytes * LARGEST_RATIO))


def _write(held: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, check: Callable[[], None]) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with held.open(entry) as source, target.open("xb") as copy:
        while piece := source.read(PIECE_BYTES):
            check()
            written += len(piece)
            # What the archive's own list says of sizes may be a lie.
            if written > left:
                raise _refused("it goes on after the bytes that its size allows")
            copy.write(piece)
    return written


def _told(error: OSError) -> InvalidInput | DiskFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("no room to unpack the data set; free some, or move the data folder")
    return _refused(f"two entries are in each other's way, or a name is too long: {error.strerror}")


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"dataset.archive: {why}", fields=["dataset.archive"])
