"""Room on the disk: below a mark, nothing new is taken in, and what is there goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from glowplug.errors import DiskFull
from glowplug.events import emit


def free_bytes(folder: Path) -> int:
    """Return how many bytes may still be written below `folder`."""
    return shutil.disk_usage(folder).free


class Room:
    """Whether there is room for new work, as it was at the last look; `on_change` hears when that changes."""

    def __init__(self, folder: Path | None, min_free_bytes: int, free: Callable[[Path], int] = free_bytes) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._free = free
        self._enough = True
        self.on_change: Callable[[], None] = lambda: None

    def enough(self) -> bool:
        """Say whether new work may be taken in."""
        return self._enough

    def check(self) -> None:
        """Return if new work may be taken in. Raises `DiskFull`."""
        if not self.enough():
            raise DiskFull("the gateway's disk is nearly full: free some room, or run glowplug clean")

    def look(self) -> None:
        """Look again."""
        if self._folder is None:
            return
        free = self._free(self._folder)
        enough = free >= self._min_free_bytes
        if enough == self._enough:
            return
        self._enough = enough
        if not enough:
            emit("disk.low", path=str(self._folder), free_bytes=free, limit_bytes=self._min_free_bytes)
        self.on_change()
