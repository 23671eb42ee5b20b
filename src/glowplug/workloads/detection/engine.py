"""The contract of engines: who really trains, opens and exports a detector.

The tasks know nothing of the library behind. Weights are one safetensors file that says by itself what it holds:
class names, picture size, kind and size of the network. Boxes are in pixels of the picture as it was handed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from glowplug.workloads.detection.dataset import CheckedDataset

STRIDE = 32


def whole_size(imgsz: int) -> int:
    """Return the size at which a network sees pictures for which `imgsz` is asked: the next multiple of its stride."""
    return math.ceil(imgsz / STRIDE) * STRIDE


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """What to train, on what, and where to write.

    `model` is a name of the contract or of the engine. The run goes on from `resume` (what `Epoch.checkpoint` wrote),
    or starts with `weights`, or from nothing. It ends after `patience` epochs that were not better, None being never.
    Everything written lies in `folder`. `threads` is 0 for as many as the library likes; `lr0` is the highest learning
    rate, None for the engine's choice.
    """

    data: CheckedDataset
    folder: Path
    model: str = "small"
    epochs: int = 100
    batch: int = 16
    imgsz: int = 640
    seed: int = 0
    device: str = "cpu"
    resume: Path | None = None
    weights: Path | None = None
    patience: int | None = None
    threads: int = 0
    lr0: float | None = None

    def identity(self) -> dict[str, Any]:
        """Say what must be the same in a run that goes on from a checkpoint of this one."""
        kept = {name: getattr(self, name) for name in ("epochs", "batch", "imgsz", "seed", "patience", "lr0")}
        return {**kept, "names": list(self.data.names), "data": self.data.digest}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch; `number` counts from 1. Validation is on the val split, losses are means over the batches.

    `checkpoint` writes everything that going on from here needs; it works until the next batch.
    """

    number: int
    total: int
    train_loss: float
    box_loss: float
    cls_loss: float
    dfl_loss: float
    mAP50: float  # noqa: N815 - the name on the wire
    mAP50_95: float  # noqa: N815
    precision: float
    recall: float
    seconds: float
    best: bool
    checkpoint: Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class TrainedWeights:
    """The end of a training: the best epoch's weights and the last one's, with what is worth saying of the run.

    `epochs` and `seconds` count all attempts; `model` is the name of the network that was trained. `metrics` are
    the best epoch's mAP50 and mAP50_95, and the last one's loss.
    """

    best: Path
    last: Path
    best_epoch: int
    epochs: int
    stopped_early: bool
    seconds: float
    model: str
    imgsz: int
    notes: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Box:
    """A thing found: left, top, right and bottom in pixels."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]


class Watcher(Protocol):
    """Is told of a training. What it raises ends the training at once, with nothing left running."""

    def batch(self, epoch: int, done: int, total: int) -> None:
        """Hear that `done` of `total` batches of an epoch (from 1) are finished; before the first, `done` is 0."""

    def epoch(self, epoch: Epoch) -> None:
        """Hear of a finished epoch, while its checkpoint can be written."""


class Finder(Protocol):
    """An opened detector."""

    @property
    def names(self) -> Sequence[str]:
        """Return the class names, in the order of their numbers."""

    @property
    def imgsz(self) -> int:
        """Return the picture size that the detector was trained for."""

    @property
    def fixed(self) -> bool:
        """Return whether it can look at pictures in that size alone."""

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first."""


class Engine(Protocol):
    """A library for detectors."""

    @property
    def name(self) -> str:
        """Return the name that options and results use."""

    @property
    def licence(self) -> str:
        """Return the licence of the library, as SPDX writes it."""

    def train(self, order: TrainOrder, watcher: Watcher) -> TrainedWeights:
        """Train, telling `watcher` of each batch and epoch.

        Raises:
            InvalidInput: the model has no such name, or the weights or the checkpoint are not of this engine.
            OutOfMemory: the device has no room for the batch; what was held there is freed.
        """

    def open(self, weights: Path, device: str) -> Finder:
        """Open trained weights.

        Raises:
            InvalidInput: the file is not what `train` of this engine writes.
        """

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        """Write trained weights as ONNX, for square pictures of `imgsz` pixels.

        Raises:
            InvalidInput: the file is not what `train` of this engine writes.
        """
