"""What a load is handed in this process: it reports to its component, as the attempt that it belongs to."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from glowplug.errors import Stop
from glowplug.load_context import LoadContext
from glowplug.readiness.component import Component


@dataclass
class Attempted(LoadContext):
    """A load context of one attempt. Once the attempt is given up, its next report raises what ends the load.

    Used from the thread of the load; `abandon` is called from another.
    """

    _component: Component | None = None
    _number: int = 0
    _stop: Stop | None = None

    def attach(self, component: Component, number: int) -> None:
        """Report to `component` from now on, as its attempt `number`."""
        self._component, self._number = component, number

    def abandon(self, stop: Stop) -> None:
        """End the load at its next report; it cannot be ended from outside."""
        self._stop = self._stop or stop

    def stage(self, name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Name the part of the load that begins now; as a `with` block, or simply called."""
        self._enter(name)
        return nullcontext()

    def progress(self, done: float, total: float | None, *, unit: str = "", stage: str | None = None) -> None:
        """Report `done` of `total` within the current stage (or `stage`)."""
        if stage is not None:
            self._enter(stage)
        self._check()
        if self._component is not None:
            self._component.advance(done=done, total=total, unit=unit or None, attempt=self._number)

    def _enter(self, stage: str) -> None:
        self._check()
        if self._component is not None:
            self._component.stage(stage, attempt=self._number)

    def _check(self) -> None:
        if self._stop is not None:
            raise self._stop
