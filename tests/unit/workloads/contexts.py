"""A run's context that remembers what it was told, and that can ask the task to stop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glowplug.errors import Stop
from glowplug.load_context import LoadContext
from glowplug.model import Resumed, RunContext


@dataclass(frozen=True)
class Told:
    """One report of progress."""

    done: float
    total: float | None
    note: str
    preview: bytes | None


class Remembering(RunContext):
    """Raises `stop` at the check after `checks` good ones."""

    def __init__(
        self, scratch: Path, *, stop: Stop | None = None, checks: int = 0, resumed: Resumed | None = None
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        super().__init__(scratch, resumed=resumed)
        self.told: list[Told] = []
        self.measured: list[dict[str, float]] = []
        self.lines: list[str] = []
        self.checked = 0
        self._stop = stop
        self._checks = checks

    def progress(self, done: float, total: float | None = None, note: str = "", preview: bytes | None = None) -> None:
        self.told.append(Told(done, total, note, preview))

    def metrics(self, **values: float) -> None:
        self.measured.append(values)

    def log(self, text: str) -> None:
        self.lines.append(text)

    def check(self) -> None:
        if self._stop is not None and self.checked >= self._checks:
            raise self._stop
        self.checked += 1

    def file(self, name: str) -> Path:
        """Return where a saved file lies."""
        return self.scratch / "saved" / name


class RememberingLoad(LoadContext):
    """Keeps the stages in order, and the progress within each."""

    def __init__(self, **options: str) -> None:
        super().__init__(options=options)
        self.stages: list[str] = []
        self.steps: list[tuple[str, float, float | None, str]] = []

    def progress(self, done: float, total: float | None, *, unit: str = "", stage: str | None = None) -> None:
        if stage is not None:
            self.stages.append(stage)
        else:
            self.steps.append((self.stages[-1], done, total, unit))
