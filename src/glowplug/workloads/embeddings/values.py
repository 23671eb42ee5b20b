"""What the tasks answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector of length one. `tokens` counts what the model saw; `truncated` says that the text went on after it.

    `note` says what else is worth knowing, such as that the model was not trained for vectors so short.
    """

    embedding: list[float]
    tokens: int
    truncated: bool
    note: str | None = None
