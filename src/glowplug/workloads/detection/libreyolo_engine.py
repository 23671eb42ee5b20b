"""The default engine: YOLOv9 as libreyolo has it (MIT), from nothing or from earlier weights, on any device of torch.

It writes only into the folder of the run, fetches nothing, and opens no pickle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from glowplug.errors import InvalidInput, OutOfMemory
from glowplug.workloads.detection.engine import Box, Finder, TrainedWeights, TrainOrder, Watcher
from glowplug.workloads.detection.libreyolo_library import LibreYOLO9
from glowplug.workloads.detection.libreyolo_names import ENGINE, chosen
from glowplug.workloads.detection.libreyolo_run import Run
from glowplug.workloads.detection.libreyolo_trainer import seeded
from glowplug.workloads.detection.weights import Weights, read

if TYPE_CHECKING:
    from PIL import Image as PillowImage


class LibreYoloEngine:
    """Trains, opens and exports YOLOv9 in its sizes t, s, m and c."""

    name = ENGINE
    licence = "MIT"

    def train(self, order: TrainOrder, watcher: Watcher) -> TrainedWeights:
        """Train, telling `watcher` of each batch and epoch; see `Engine.train`."""
        size, notes = chosen(order.model)
        with _threads(order.threads), seeded(order.seed), _room(order):
            return Run(order, watcher, size, notes).result()

    def open(self, weights: Path, device: str) -> Finder:
        """Open trained weights; see `Engine.open`."""
        held = read(weights, ENGINE)
        return LibreYoloFinder(_detector(held, device), held)

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        """Write trained weights as ONNX; see `Engine.export_onnx`."""
        detector = _detector(read(weights, ENGINE), "cpu")
        detector.export("onnx", output_path=str(target), imgsz=imgsz, simplify=False, dynamic=True)


class LibreYoloFinder:
    """An opened detector."""

    def __init__(self, detector: Any, weights: Weights) -> None:
        self._detector = detector
        self.names = weights.names
        self.imgsz = weights.imgsz

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first."""
        pictures = [image.convert("RGB") for image in images]
        found = self._detector(pictures, conf=conf, iou=iou, imgsz=imgsz, batch=max(len(pictures), 1))
        return [self._boxes(result.boxes) for result in found]

    def _boxes(self, boxes: Any) -> list[Box]:
        rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True)
        found = [Box(self.names[int(label)], score, (at[0], at[1], at[2], at[3])) for label, score, at in rows]
        return sorted(found, key=lambda box: -box.confidence)


def _detector(weights: Weights, device: str) -> Any:
    detector = LibreYOLO9(None, size=weights.size, nb_classes=len(weights.names), device=device)
    detector.names = dict(enumerate(weights.names))
    try:
        detector.model.load_state_dict(weights.state)
    except RuntimeError as error:
        raise InvalidInput(f"model_path: not the tensors of {weights.model}", fields=["model_path"]) from error
    detector.model.eval()
    return detector


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _room(order: TrainOrder) -> Iterator[None]:
    """Tell of a full card in words, and leave nothing on it."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(
            f"no room on {order.device} for batches of {order.batch} pictures of {order.imgsz} pixels; "
            "lower hyperparams.batch or hyperparams.imgsz"
        ) from error
    finally:
        if order.device.startswith("cuda"):
            torch.cuda.empty_cache()
