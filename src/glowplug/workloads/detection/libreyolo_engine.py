"""The default engine: YOLOv9 as libreyolo has it (MIT), from nothing or from earlier weights, on any device of torch.

It writes only into the folder of the run, fetches nothing, and opens no pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import machine
from glowplug.workloads.detection.chance import seeded
from glowplug.workloads.detection.engine import Box, Finder, TrainedWeights, TrainOrder, Watcher
from glowplug.workloads.detection.libreyolo_library import LibreYOLO9
from glowplug.workloads.detection.libreyolo_names import ENGINE, FAMILY, SIZES, chosen
from glowplug.workloads.detection.libreyolo_run import Run
from glowplug.workloads.detection.results import boxes
from glowplug.workloads.detection.weights import Weights, read

USUAL_BATCH = 16

if TYPE_CHECKING:
    from PIL import Image as PillowImage


class LibreYoloEngine:
    """Trains, opens and exports YOLOv9 in its sizes t, s, m and c.

    `threads` look for things, 0 being as many as are of use; a training has its own.
    """

    name = ENGINE
    licence = "MIT"

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads

    def train(self, order: TrainOrder, watcher: Watcher) -> TrainedWeights:
        """Train, telling `watcher` of each batch and epoch; see `Engine.train`."""
        size, notes = chosen(order.model)
        batch = order.batch if order.batch > 0 else USUAL_BATCH
        order = replace(order, batch=min(batch, len(order.data.train)))
        with machine.threads(machine.threads_to_train(order)), seeded(order.seed), machine.room(order):
            return Run(order, watcher, size, notes).result()

    def open(self, weights: Path, device: str) -> Finder:
        """Open trained weights; see `Engine.open`."""
        held = read(weights, ENGINE)
        return LibreYoloFinder(_detector(held, device), held, self._threads)

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        """Write trained weights as ONNX; see `Engine.export_onnx`."""
        detector = _detector(read(weights, ENGINE), "cpu")
        with machine.threads(self._threads or machine.useful_threads(imgsz**2)):
            detector.export("onnx", output_path=str(target), imgsz=imgsz, simplify=False, dynamic=True)


class LibreYoloFinder:
    """An opened detector."""

    fixed = False

    def __init__(self, detector: Any, weights: Weights, threads: int = 0) -> None:
        self._detector = detector
        self._threads = threads
        self.names = weights.names
        self.imgsz = weights.imgsz

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first."""
        pictures = [image.convert("RGB") for image in images]
        with machine.threads(self._threads or machine.useful_threads(len(pictures) * imgsz**2)):
            found = self._detector(pictures, conf=conf, iou=iou, imgsz=imgsz, batch=max(len(pictures), 1))
        return [boxes(result.boxes, self.names) for result in found]


def _detector(weights: Weights, device: str) -> Any:
    if weights.family != FAMILY or weights.size not in SIZES.values():
        raise InvalidInput(f"model_path: {weights.model} is no network of {ENGINE}", fields=["model_path"])
    detector = LibreYOLO9(None, size=weights.size, nb_classes=len(weights.names), device=device)
    detector.names = dict(enumerate(weights.names))
    try:
        detector.model.load_state_dict(weights.state)
    except RuntimeError as error:
        raise InvalidInput(f"model_path: not the tensors of {weights.model}", fields=["model_path"]) from error
    detector.model.eval()
    return detector
