"""The folders of this machine that an application's components share, and the weights in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.app.options import ReadinessOptions
from glowplug.data_folder import DataFolder, default_folder

if TYPE_CHECKING:
    from glowplug.artifact import ArtifactStore
    from glowplug.process.weights import Weights


class Storage:
    """Where an application keeps what it loads. Nothing is touched until it is needed; what is heavy comes in late."""

    def __init__(self, options: ReadinessOptions) -> None:
        self._options = options
        self._weights: Weights | None = None

    @cached_property
    def cache(self) -> Path:
        """Return the folder of what can be fetched again."""
        named = self._options.cache or os.environ.get("GLOWPLUG_CACHE")
        return Path(named).expanduser() if named else default_folder("cache")

    @cached_property
    def scratch(self) -> Path:
        """Return this process's folder for files of running work."""
        named = self._options.data or os.environ.get("GLOWPLUG_DATA")
        data = Path(named).expanduser() if named else default_folder("data")
        root = DataFolder(data).scratch
        _sweep(root)
        # Several applications of one process share the data folder, never a scratch folder.
        return root / f"app-{os.getpid()}-{id(self):x}"

    async def fetch(
        self, declared: Mapping[str, str], progress: Callable[[int, int | None, str], None]
    ) -> dict[str, Path]:
        """Return a local path for each of the declared weights; see `Weights.fetch`."""
        if self._weights is None:
            from glowplug.process.weights import Weights

            self._weights = Weights(self.cache, _open_source, self._options.clock)
        return await self._weights.fetch(declared, progress)

    def close(self) -> None:
        """Let the weights go, and remove what running work has left."""
        if self._weights is not None:
            self._weights.release()
        if "scratch" in vars(self):
            shutil.rmtree(self.scratch, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what applications left that were killed."""
    for folder in root.glob("app-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _open_source(url: str) -> tuple[ArtifactStore, str]:
    from glowplug.artifacts.objects import object_source

    return object_source(url)
