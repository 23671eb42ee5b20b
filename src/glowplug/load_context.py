"""What a load is handed. A module of its own, so that an application pays for nothing but this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class LoadContext:
    """Handed to `load` and `warm_up`. As built here it only remembers; the model's process reports from it.

    `device` is where the model belongs ("cuda:0"), `room_bytes` what it may take there, None where nobody counts it.
    """

    weights: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    room_bytes: int | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name the part of the load that the block is; shown to people and timed."""
        self.progress(0, None, stage=name)
        yield

    def progress(self, done: float, total: float | None, *, unit: str = "", stage: str | None = None) -> None:
        """Report `done` of `total` within the current stage (or `stage`)."""
