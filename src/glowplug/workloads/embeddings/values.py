"""What the tasks answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector of length one. `tokens` counts what the model saw; `truncated` says that the text went on after it."""

    embedding: list[float]
    tokens: int
    truncated: bool
