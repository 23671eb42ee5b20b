"""Ultralytics as an engine, for those who install it themselves; it is no part of Glowplug, and no extra of it.

Its licence is AGPL-3.0, which reaches a program that uses it and those whom that program serves over a network. No
pickle is opened here: weights are kept as safetensors, in the networks that Ultralytics builds from their names.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from glowplug.errors import MissingExtra
from glowplug.workloads.detection import machine
from glowplug.workloads.detection.chance import seeded
from glowplug.workloads.detection.engine import Box, Finder, TrainedWeights, TrainOrder, Watcher
from glowplug.workloads.detection.results import boxes
from glowplug.workloads.detection.ultralytics_names import ENGINE, LICENCE, chosen
from glowplug.workloads.detection.weights import Weights, read
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from glowplug.workloads.detection import ultralytics_network, ultralytics_run
else:
    ultralytics_network = Deferred("glowplug.workloads.detection.ultralytics_network", "detection", ENGINE)
    ultralytics_run = Deferred("glowplug.workloads.detection.ultralytics_run", "detection", ENGINE)

LIBRARY = "glowplug.workloads.detection.ultralytics_library"
USUAL_BATCH = 16
HOW = (
    "engine=ultralytics needs Ultralytics, which Glowplug does not bring: pip install ultralytics. Its licence, "
    "AGPL-3.0, reaches your program too, unless you have another one from Ultralytics; engine=libreyolo is MIT"
)


def installed(threads: int = 0) -> UltralyticsEngine:
    """Import Ultralytics, and return the engine.

    Raises:
        MissingExtra: it is not installed, or not all that it needs; the message names the licence too.
    """
    if find_spec(ENGINE) is None:
        raise MissingExtra(HOW)
    try:
        importlib.import_module(LIBRARY)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is missing. {HOW}") from error
    return UltralyticsEngine(threads)


class UltralyticsEngine:
    """Trains, opens and exports the detectors of Ultralytics, from nothing or from weights of its own."""

    name = ENGINE
    licence = LICENCE

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads

    def train(self, order: TrainOrder, watcher: Watcher) -> TrainedWeights:
        """Train, telling `watcher` of each batch and epoch; see `Engine.train`.

        A resumed run has its optimizer, averages and schedule again, but draws pictures and their changes anew.
        """
        network = chosen(order.model)
        batch = order.batch if order.batch > 0 else USUAL_BATCH
        order = replace(order, batch=min(batch, len(order.data.train)))
        with machine.threads(machine.threads_to_train(order)), seeded(order.seed), machine.room(order):
            return ultralytics_run.Run(order, watcher, network).result()

    def open(self, weights: Path, device: str) -> Finder:
        """Open trained weights; see `Engine.open`."""
        held = read(weights, ENGINE)
        return UltralyticsFinder(ultralytics_network.detector(held), held, device, self._threads)

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        """Write trained weights as ONNX; see `Engine.export_onnx`."""
        detector = ultralytics_network.detector(read(weights, ENGINE))
        # The file is written beside the one that the network is said to be from.
        detector.model.pt_path = str(target.with_suffix(".pt"))
        with machine.threads(self._threads):
            written = detector.export(format="onnx", imgsz=imgsz, dynamic=False, simplify=False, device="cpu")
        Path(written).replace(target)


class UltralyticsFinder:
    """An opened detector."""

    fixed = False

    def __init__(self, detector: Any, weights: Weights, device: str, threads: int = 0) -> None:
        self._detector = detector
        self._device = device
        self._threads = threads
        self.names = weights.names
        self.imgsz = weights.imgsz

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first."""
        if not images:
            return []
        how = {"conf": conf, "iou": iou, "imgsz": imgsz, "device": self._device, "verbose": False, "rect": False}
        with machine.threads(self._threads or machine.useful_threads(len(images) * imgsz**2)):
            self._keep_threads()
            found = self._detector.predict([image.convert("RGB") for image in images], batch=len(images), **how)
        return [boxes(result.boxes, self.names) for result in found]

    def _keep_threads(self) -> None:
        """Look with as many threads as now: to prepare for it, Ultralytics takes as many as it likes."""
        count, begin = torch.get_num_threads(), "on_predict_start"
        self._detector.clear_callback(begin)
        self._detector.add_callback(begin, lambda _: torch.set_num_threads(count))
