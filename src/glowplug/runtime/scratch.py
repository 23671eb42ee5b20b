"""Folders for the files of running calls: made when first needed, always removed, swept at the start."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from glowplug.errors import DiskFull, GlowplugError, RemoteError
from glowplug.lifecycle import in_thread


async def remove(folder: Path) -> None:
    """Remove a folder with all it holds; an absent one is fine."""
    if os.path.lexists(folder):  # noqa: ASYNC240 - mostly there is none, and to ask is cheaper than a thread
        await in_thread(None, shutil.rmtree, folder, ignore_errors=True)


async def sweep(root: Path) -> None:
    """Make `root` and remove what an earlier process left in it."""
    await in_thread(None, _sweep, root)


def _sweep(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, root) from error


async def write_chunks(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """Write the pieces to a local file; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Here and not in a thread: a cancel while one opens it would leave it open.
        with path.open("wb") as stream:
            async for chunk in chunks:
                await in_thread(None, stream.write, chunk)
    except OSError as error:
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path) -> GlowplugError:
    """Translate what the disk answered."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room to write {path.name}: free some space below {path.parent}")
    return RemoteError(f"cannot use {path.name} on the worker's disk: {error.strerror}")
