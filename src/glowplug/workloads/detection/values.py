"""What the detector's tasks take and answer: the bodies of the messages, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, MaxLen

from glowplug.model import File, Folder

FORBID: dict[str, Any] = {"extra": "forbid"}
WEIGHTS_NAME = "best.safetensors"
LARGEST_SEED = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where the pictures and labels are: a folder in the artifact store, or an uploaded zip of such a folder."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    s3_prefix: Folder | None = None
    name: Annotated[str, MaxLen(256)] = ""
    archive: File | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Where the caller would like a model, and its file name."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    prefix: Annotated[str, MaxLen(1024)] = ""
    model_name: Annotated[str, MaxLen(256)] = WEIGHTS_NAME


@dataclass(frozen=True, slots=True)
class Hyperparams:
    """How to train. `batch` -1 is the usual 16; `patience` is how many epochs may pass that are not better."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    model: Annotated[str, MaxLen(64)] = "small"
    epochs: Annotated[int, Ge(1), Le(10_000)] = 100
    batch: Annotated[int, Ge(-1), Le(1024)] = 16
    imgsz: Annotated[int, Ge(32), Le(2048)] = 640
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = 0
    patience: Annotated[int, Ge(1)] | None = None
    lr0: Annotated[float, Gt(0), Le(1)] | None = None
    val_share: Annotated[float, Ge(0.01), Le(0.9)] = 0.2


@dataclass(frozen=True, slots=True)
class FinalMetrics:
    """How good the trained detector is on the val split, and what the last epoch's loss was."""

    final_mAP50: float  # noqa: N815 - the name on the wire
    final_mAP50_95: float  # noqa: N815
    final_loss: float
    training_epochs: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained detector. `report` is the list of what is odd in the data set, where it is too long for `warnings`."""

    model_path: str
    last_path: str
    final_metrics: FinalMetrics
    training_time: float
    best_epoch: int
    stopped_early: bool
    model: str
    engine: str
    names: list[str]
    images: dict[str, int]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    report: str | None = None
