"""Parts of a workload whose libraries are extras: imported at the first use, or the install command is named."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from glowplug.errors import MissingExtra


@dataclass(frozen=True, slots=True)
class Deferred:
    """Stands for `module` until an attribute of it is asked for.

    Models name their heavy parts this way at the top of the file, so that importing the model stays light: they are
    `imported` in `Model.prepare`.
    """

    module: str
    extra: str
    needed_for: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.found(), name)

    def found(self) -> ModuleType:
        """Return the module. Raises `MissingExtra` where a library of it is not installed."""
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
                raise
            raise MissingExtra.of(self.extra, self.needed_for) from error


def imported(*parts: object) -> None:
    """Import what those of `parts` stand for that are `Deferred`. Raises `MissingExtra`."""
    for part in parts:
        if isinstance(part, Deferred):
            part.found()
