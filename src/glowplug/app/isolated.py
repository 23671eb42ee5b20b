"""A model in a process of its own behind a component. Imported only where it is used.

The process is kept by `process.Host`: its crashes and restarts show in the component.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glowplug.app.handle import Handle
from glowplug.app.loader import Life, Loader, Place
from glowplug.app.options import ComponentOptions
from glowplug.app.trouble import NOT_INSTALLED
from glowplug.errors import DeadlineExceeded, SettingsError
from glowplug.lifecycle import cancel
from glowplug.model import Model
from glowplug.process.host import Host, HostSpec
from glowplug.readiness.state import Status

_NOT_HERE = ("weights", "warm_up", "check")
_MISSING = ("ModuleNotFoundError:", "ImportError:")


@dataclass(frozen=True, slots=True)
class Isolated(Loader):
    """A model to be run in its own process: `target` as in `process.target`, `root` where its module is found."""

    target: str
    root: Path | None = None

    @classmethod
    def of(cls, model: type[Model], options: ComponentOptions, where: str) -> Isolated:
        """Say where another process finds `model`.

        Raises:
            SettingsError: it stands where no other process can import it, or something is said here that belongs to it.
        """
        if said := [name for name in _NOT_HERE if getattr(options, name)]:
            raise SettingsError(f"{where}: with isolate=True, {said[0]} is a part of the model {model.__name__}")
        if "." in model.__qualname__:
            raise SettingsError(
                f"{where}: {model.__qualname__} stands inside a function or a class, where another process cannot "
                "find it; move it to the top level of a file"
            )
        return _found(model, where)

    @property
    def origin(self) -> str:
        """Return where the model is found."""
        return f"{self.root or ''}{self.target}"

    def life(self, place: Place) -> Life:
        """Return the life of the process."""
        return IsolatedLife(self, place)

    def environment(self) -> Mapping[str, str] | None:
        """Return what the process sees in addition to the module's own folder, None for what this one sees."""
        if self.root is None or self.root == Path.cwd():
            return None
        earlier = os.environ.get("PYTHONPATH")
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.root), *([earlier] if earlier else [])])}


class IsolatedLife(Life):
    """The life of a component in its own process; its value is a `Handle`."""

    def __init__(self, loader: Isolated, place: Place) -> None:
        super().__init__(place)
        options, deadlines = place.options, place.component.spec.deadlines
        spec = HostSpec(
            target=loader.target,
            name=place.name,
            device=options.device or "cpu",
            options=options.options,
            startup_timeout_seconds=deadlines.startup_seconds,
            stall_seconds=deadlines.stall_seconds,
            warm_up_seconds=deadlines.warm_up_seconds,
            load_attempts=options.retries + 1,
            scratch=place.storage.scratch / "models",
            environment=loader.environment(),
        )
        self._host = Host(spec, place.component, clock=place.whole.clock, weights=place.storage)
        self._handle = Handle(self._host, place.storage.scratch / "files" / place.name)
        self._watch: asyncio.Task[None] | None = None

    @property
    def value(self) -> Handle:
        """Return the handle; calls of a model that is not ready end in `NotReady`."""
        return self._handle

    @property
    def can_retry(self) -> bool:
        """Say whether there is an error; what is not installed takes a new start of the application."""
        return self.started and self.component.status is Status.ERROR

    async def retry(self) -> None:
        """Start the process again."""
        await self._host.reload()

    async def warm_up(self) -> float | None:
        """Warm up again between calls. Raises what the model raised, or `DeadlineExceeded`."""
        limit = self.component.spec.deadlines.warm_up_seconds
        try:
            async with asyncio.timeout(limit):
                return await self._host.warm_up()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.place.name}: the warm-up takes longer than {limit:g} s") from error

    async def _start(self) -> None:
        await self._host.start()
        self._watch = asyncio.create_task(self._see_absence(), name=f"absence of {self.place.name}")

    async def _stop(self) -> None:
        await cancel(self._watch)
        await self._host.stop()

    async def _see_absence(self) -> None:
        """Call an optional model whose library is missing unavailable, as it would be in this process."""
        await self._host.wait_given_up()
        failure = self.component.snapshot().failure
        if failure is not None and not self.component.required and failure.error.startswith(_MISSING):
            self.component.unavailable(NOT_INSTALLED)


def _found(model: type[Model], where: str) -> Isolated:
    module = sys.modules[model.__module__]
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    # A program run with `python -m` knows its own name; one that is run as a file has only the file.
    name = spec.name if spec is not None else model.__module__
    if file is None:
        raise SettingsError(f"{where}: {model.__name__} was typed in, not read from a file; save it to a file")
    path = Path(file).resolve()
    if "." not in name and path.name != "__init__.py":
        return Isolated(f"{path}:{model.__name__}")
    up = len(name.split(".")) - (path.name != "__init__.py")
    return Isolated(f"{name}:{model.__name__}", path.parents[up])
