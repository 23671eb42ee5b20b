"""What a warm-up came to, wherever it ran."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a component's warm-up went: its seconds, of several the slowest, None if none came to its end; the error."""

    component: str
    seconds: float | None
    error: str | None = None
