"""Ultralytics as an engine, for those who install it themselves; it is no part of Glowplug, and no extra of it.

Its licence is AGPL-3.0, which reaches a program that uses it and those whom that program serves over a network. No
pickle is opened here: weights are kept as safetensors, in the networks that Ultralytics builds from their names.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from glowplug.errors import InvalidInput, MissingExtra
from glowplug.workloads.detection import tensors
from glowplug.workloads.detection.engine import Box, Epoch, Finder, TrainedWeights, TrainOrder, Watcher
from glowplug.workloads.detection.layout import laid_out
from glowplug.workloads.detection.weights import Weights, read
from glowplug.workloads.torchvision_ops import ensure_torchvision

if TYPE_CHECKING:
    from PIL import Image as PillowImage

ENGINE = "ultralytics"
LICENCE = "AGPL-3.0-only"
CHECKPOINT = "ultralytics checkpoint"
USUAL = {"tiny": "yolov8n", "small": "yolov8n", "medium": "yolov8s", "large": "yolov8l"}
USUAL_BATCH = 16
HOW = (
    "engine=ultralytics needs Ultralytics, which Glowplug does not bring: pip install ultralytics. Its licence, "
    "AGPL-3.0, reaches your program too, unless you have another one from Ultralytics; engine=libreyolo is MIT"
)
_MODEL = re.compile(r"(?P<family>yolo(?:v8|v9|v10|11|12|26))(?P<size>[nstmblxce])(?:\.pt|\.yaml)?")


def installed(threads: int = 0) -> UltralyticsEngine:
    """Return the engine. Raises `MissingExtra`, which names the licence too, where Ultralytics is not installed."""
    if importlib.util.find_spec(ENGINE) is None:
        raise MissingExtra(HOW)
    return UltralyticsEngine(threads)


class UltralyticsEngine:
    """Trains, opens and exports the detectors of Ultralytics, from nothing or from weights of its own."""

    name = ENGINE
    licence = LICENCE

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads

    def train(self, order: TrainOrder, watcher: Watcher) -> TrainedWeights:
        """Train, telling `watcher` of each batch and epoch; see `Engine.train`.

        A resumed run goes on from the weights of its last epoch; the optimizer and its schedule begin anew.
        """
        return _Run(order, watcher, chosen(order.model)).result()

    def open(self, weights: Path, device: str) -> Finder:
        """Open trained weights; see `Engine.open`."""
        held = read(weights, ENGINE)
        return UltralyticsFinder(_detector(held), held, device)

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        """Write trained weights as ONNX; see `Engine.export_onnx`."""
        detector = _detector(read(weights, ENGINE))
        # The file is written beside the one that the network is said to be from.
        detector.model.pt_path = str(target.with_suffix(".pt"))
        Path(detector.export(format="onnx", imgsz=imgsz, dynamic=False, simplify=False)).replace(target)


class UltralyticsFinder:
    """An opened detector."""

    def __init__(self, detector: Any, weights: Weights, device: str) -> None:
        self._detector = detector
        self._device = device
        self.names = weights.names
        self.imgsz = weights.imgsz

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first."""
        if not images:
            return []
        how = {"conf": conf, "iou": iou, "imgsz": imgsz, "device": self._device, "verbose": False, "rect": False}
        found = self._detector.predict([image.convert("RGB") for image in images], batch=len(images), **how)
        return [self._boxes(result.boxes) for result in found]

    def _boxes(self, boxes: Any) -> list[Box]:
        rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True)
        found = [Box(self.names[int(label)], score, (at[0], at[1], at[2], at[3])) for label, score, at in rows]
        return sorted(found, key=lambda box: -box.confidence)


@dataclass(frozen=True, slots=True)
class Network:
    """A network of Ultralytics by its name in two parts, such as `yolov8` and `n`."""

    family: str
    size: str

    @property
    def file(self) -> str:
        """Return the description that Ultralytics builds it from."""
        return f"{self.family}{self.size}.yaml"


def chosen(model: str) -> Network:
    """Return the network that a name stands for. Raises `InvalidInput`."""
    match = _MODEL.fullmatch(USUAL.get(model.lower(), model.lower()))
    if match is None:
        known = ", ".join([*USUAL, "yolov8n and the like"])
        raise InvalidInput(f"hyperparams.model: {model!r} is not known; known are {known}", fields=["hyperparams"])
    return Network(match["family"], match["size"])


class _Run:
    """One attempt at one training."""

    def __init__(self, order: TrainOrder, watcher: Watcher, network: Network) -> None:
        self._order = order
        self._watcher = watcher
        self._network = network
        self._done = 0
        self._best = (-1.0, 0, dict[str, torch.Tensor]())
        self._last: Mapping[str, torch.Tensor] = {}
        self._metrics: dict[str, float] = {}
        self._batches, self._told = 0, -1
        self._began = self._epoch_began = time.monotonic()

    def result(self) -> TrainedWeights:
        """Train to the end, and write the weights."""
        order, detector = self._order, self._prepared()
        detector.add_callback("on_train_batch_end", self._on_batch)
        detector.add_callback("on_fit_epoch_end", self._on_epoch)
        if self._done < order.epochs:
            # Without a say, and with nothing loaded, weights of the internet would be fetched.
            detector.train(pretrained=bool(detector.ckpt), **self._settings())
        best, last = order.folder / "best.safetensors", order.folder / "last.safetensors"
        self._weights(self._best[2] or self._last).write(best)
        self._weights(self._last).write(last)
        return TrainedWeights(
            best=best,
            last=last,
            best_epoch=self._best[1],
            epochs=self._done,
            seconds=time.monotonic() - self._began,
            stopped_early=self._done < order.epochs,
            model=f"{self._network.family}{self._network.size}",
            imgsz=order.imgsz,
            notes=(f"trained by {ENGINE}, whose licence is {LICENCE}",),
            metrics=self._metrics,
        )

    def _prepared(self) -> Any:
        order = self._order
        weights = None if order.weights is None else read(order.weights, ENGINE, "weights")
        state = {} if weights is None else weights.state
        if order.resume is not None:
            held = tensors.read(order.resume, "checkpoint")
            if held.get("kind") != CHECKPOINT:
                raise InvalidInput("the checkpoint is of another engine; submit the job anew")
            self._done, state = int(held["epoch"]), held["state"]
            self._best, self._last, self._metrics = tuple(held["best"]), state, dict(held["metrics"])
        imgsz = order.imgsz
        return _built(Weights(ENGINE, self._network.family, self._network.size, order.data.names, imgsz, state))

    def _settings(self) -> dict[str, Any]:
        order = self._order
        return {
            "data": str(laid_out(order.data, order.folder / "set")),
            "epochs": order.epochs - self._done,
            "batch": USUAL_BATCH if order.batch < 1 else order.batch,
            "imgsz": order.imgsz,
            "seed": order.seed + self._done,
            "device": order.device,
            "patience": order.patience or 0,
            "project": str(order.folder),
            "name": "run",
            "workers": 0,
            "amp": order.device.startswith("cuda"),
            "plots": False,
            "verbose": False,
            **({} if order.lr0 is None else {"lr0": order.lr0, "optimizer": "AdamW"}),
        }

    def _on_batch(self, trainer: Any) -> None:
        total = len(trainer.train_loader)
        self._batches = self._batches % total + 1
        self._watcher.batch(self._done + 1, self._batches, total)

    def _on_epoch(self, trainer: Any) -> None:
        # It is called once more, for the best weights, when the training is over.
        if trainer.epoch + 1 > trainer.epochs or trainer.tloss is None or self._told == trainer.epoch:
            return
        self._told = trainer.epoch
        self._done += 1
        self._last = {name: value.detach().cpu().clone() for name, value in trainer.ema.ema.state_dict().items()}
        losses, found = trainer.label_loss_items(trainer.tloss), trainer.metrics
        told = self._epoch(losses, found)
        if told.best:
            self._best = (told.mAP50_95, told.number, dict(self._last))
        self._metrics = {"loss": told.train_loss, "mAP50": told.mAP50, "mAP50_95": self._best[0]}
        self._watcher.epoch(told)

    def _epoch(self, losses: Mapping[str, Any], found: Mapping[str, Any]) -> Epoch:
        box, cls, dfl = (float(losses[f"train/{name}_loss"]) for name in ("box", "cls", "dfl"))
        began, self._epoch_began = self._epoch_began, time.monotonic()
        map50_95 = float(found.get("metrics/mAP50-95(B)", 0.0))
        return Epoch(
            number=self._done,
            total=self._order.epochs,
            train_loss=box + cls + dfl,
            box_loss=box,
            cls_loss=cls,
            dfl_loss=dfl,
            mAP50=float(found.get("metrics/mAP50(B)", 0.0)),
            mAP50_95=map50_95,
            precision=float(found.get("metrics/precision(B)", math.nan)),
            recall=float(found.get("metrics/recall(B)", math.nan)),
            seconds=self._epoch_began - began,
            best=map50_95 > self._best[0],
            checkpoint=self._write,
        )

    def _write(self, path: Path) -> None:
        held = {"kind": CHECKPOINT, "epoch": self._done, "state": self._last, "metrics": self._metrics}
        tensors.write(path, {**held, "best": list(self._best)})

    def _weights(self, state: Mapping[str, torch.Tensor]) -> Weights:
        order, network = self._order, self._network
        return Weights(ENGINE, network.family, network.size, order.data.names, order.imgsz, state)


def _detector(weights: Weights) -> Any:
    detector = _built(weights)
    detector.model.eval()
    return detector


def _built(weights: Weights) -> Any:
    """Return Ultralytics' detector with a network of its own making, and our tensors in it."""
    library, network = _library(), Network(weights.family, weights.size)
    detector = library.YOLO(network.file)
    model = importlib.import_module("ultralytics.nn.tasks").DetectionModel
    detector.model = model(network.file, nc=len(weights.names), verbose=False)
    detector.model.task = "detect"
    detector.model.names = dict(enumerate(weights.names))
    usual = importlib.import_module("ultralytics.utils").DEFAULT_CFG_DICT
    detector.model.args = {**usual, **detector.overrides, "task": "detect", "imgsz": weights.imgsz}
    if weights.state:
        try:
            detector.model.load_state_dict(weights.state)
        except RuntimeError as error:
            raise InvalidInput(f"model_path: not the tensors of {weights.model}", fields=["model_path"]) from error
        # What says that training begins with these.
        detector.ckpt = {"model": detector.model}
    return detector


def _library() -> Any:
    ensure_torchvision()
    # Read when it is imported: nothing is fetched or installed behind our back.
    for name, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false")):
        os.environ.setdefault(name, value)
    return importlib.import_module(ENGINE)
