"""What the tasks take and answer beside plain numbers and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample: more `steps` are finer, more `guidance` is plainer and less varied (1 is none)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    steps: Annotated[int, Ge(1), Le(100)] = 20
    guidance: Annotated[float, Ge(0), Le(10)] = 2.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """Generated pictures. `label` is the digits that were asked for, such as "42"; `sheet` shows all pictures."""

    images: list[str]
    sheet: str | None
    seed: int
    prompt: str
    label: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture was read as; `scores` are the probabilities of the ten labels, `confidence` is the highest."""

    label: int
    confidence: float
    scores: list[float]


@dataclass(frozen=True, slots=True)
class Trained:
    """Trained weights; `loss` is the mean of the last epoch, or null if the checkpoint was already at the end."""

    weights: str
    sha256: str
    epochs: int
    seed: int
    loss: float | None


@dataclass(frozen=True, slots=True)
class Converted:
    """A network in another format, and how far its answers are from the original's on fixed inputs."""

    model: str
    sha256: str
    format: str
    max_abs_difference: float
    tolerance: float
