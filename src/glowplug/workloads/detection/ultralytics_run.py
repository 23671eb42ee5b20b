"""One attempt at one training with Ultralytics: prepared, run to its end, and written down."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import tensors
from glowplug.workloads.detection.engine import STRIDE, Epoch, TrainedWeights, TrainOrder, Watcher, whole_size
from glowplug.workloads.detection.layout import laid_out
from glowplug.workloads.detection.ultralytics_names import ENGINE, LICENCE, Network
from glowplug.workloads.detection.ultralytics_network import built
from glowplug.workloads.detection.ultralytics_training import State, Training
from glowplug.workloads.detection.weights import Weights, read

CHECKPOINT = "ultralytics checkpoint"


class Run:
    """One attempt at one training."""

    def __init__(self, order: TrainOrder, watcher: Watcher, network: Network) -> None:
        self._order = order
        self._watcher = watcher
        self._network = network
        self._notes = [f"trained by {ENGINE}, whose licence is {LICENCE}"]
        self._imgsz = whole_size(order.imgsz)
        self._told: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "best_epoch": 0, "mAP50": 0.0, "mAP50_95": -1.0}
        self._best: State = {}
        self._last: State = {}
        self._batches = 0

    def result(self) -> TrainedWeights:
        """Train to the end, and write the weights."""
        self._began = self._epoch_began = time.monotonic()
        held = self._held()
        self._before = self._told["seconds"]
        if self._told["epoch"] < self._order.epochs and not self._told.get("stopped_early"):
            self._trained(held)
        folder, told = self._order.folder, self._told
        best, last = folder / "best.safetensors", folder / "last.safetensors"
        self._weights(self._best).write(best)
        self._weights(self._last).write(last)
        return TrainedWeights(
            best=best,
            last=last,
            best_epoch=told["best_epoch"],
            epochs=told["epoch"],
            stopped_early=told["stopped_early"],
            seconds=self._seconds(),
            model=self._network.name,
            imgsz=self._imgsz,
            notes=tuple(self._notes),
            metrics={name: told[name] for name in ("loss", "mAP50", "mAP50_95")},
        )

    def _held(self) -> Mapping[str, Any] | None:
        order = self._order
        if order.resume is None:
            return None
        held, own = tensors.read(order.resume, "checkpoint"), self._identity()
        if held.get("kind") != CHECKPOINT or held["run"] != own:
            old = held.get("run") or {}
            differing = {name: [old.get(name), value] for name, value in own.items() if old.get(name) != value}
            raise InvalidInput(f"the checkpoint is of another training ({json.dumps(differing)}); start a new job")
        self._told, self._best, self._last = held["told"], held["best"], held["average"]
        return held

    def _trained(self, held: Mapping[str, Any] | None) -> None:
        training = Training(self._begun(held), self._data(), held, **self._settings())
        for event, told in {
            "on_pretrain_routine_end": self._on_data,
            "on_train_epoch_start": self._on_epoch_begin,
            "on_train_batch_end": self._on_batch,
            "on_train_epoch_end": self._on_losses,
            "on_val_batch_start": partial(self._on_validation, training),
            "on_fit_epoch_end": self._on_epoch,
        }.items():
            training.add_callback(event, told)
        training.train()
        if training.batch_size < self._order.batch:
            self._notes.append(f"no room for batches of {self._order.batch}: trained in such of {training.batch_size}")

    def _begun(self, held: Mapping[str, Any] | None) -> torch.nn.Module:
        order, network = self._order, self._network
        if self._imgsz == STRIDE and len(order.data.train) % order.batch == 1 % order.batch:
            # Of one picture of that size the last layers see a single point, of which there is no mean.
            told = f"hyperparams.imgsz: {STRIDE} is too small for a batch of one picture; ask for {2 * STRIDE}"
            raise InvalidInput(told, fields=["hyperparams.imgsz"])
        if self._imgsz != order.imgsz:
            self._notes.append(f"imgsz {order.imgsz} became {self._imgsz}, a multiple of {STRIDE}")
        model: torch.nn.Module = built(network, order.data.names, self._imgsz)
        if order.weights is None or held is not None:
            return model
        weights, own = read(order.weights, ENGINE, "weights"), model.state_dict()
        fitting = weights.fitting(own)
        given = Network(weights.family, weights.size)
        if given != network or len(fitting) < len(own) // 2:
            raise InvalidInput(f"weights: of {given.name}, not of {network.name}; name their model", fields=["weights"])
        model.load_state_dict(own | fitting)
        if left_out := len(weights.state) - len(fitting):
            self._notes.append(f"{left_out} tensors of the given weights are for other classes and were left out")
        return model

    def _data(self) -> dict[str, Any]:
        data = self._order.data
        described = laid_out(data, self._order.folder / "set")
        root = described.parent
        return {
            "path": root,
            "yaml_file": str(described),
            "train": str(root / "train"),
            "val": str(root / "val"),
            "names": dict(enumerate(data.names)),
            "nc": len(data.names),
            "channels": 3,
        }

    def _settings(self) -> dict[str, Any]:
        order = self._order
        return {
            "task": "detect",
            "mode": "train",
            "model": self._network.file,
            "data": str(order.folder / "set" / "data.yaml"),
            "save_dir": str(order.folder / "run"),
            "epochs": order.epochs,
            "batch": order.batch,
            "imgsz": self._imgsz,
            "seed": order.seed + self._told["epoch"],
            "device": order.device,
            "patience": 0,
            "workers": 0,
            # Half precision of the other kind is first tried with weights that are fetched, which are a pickle.
            "amp": "bf16" if order.device.startswith("cuda") and torch.cuda.is_bf16_supported() else False,
            "plots": False,
            "verbose": False,
            **({} if order.lr0 is None else {"lr0": order.lr0, "optimizer": "AdamW"}),
        }

    def _identity(self) -> dict[str, Any]:
        return self._order.identity() | {"model": self._network.name}

    def _weights(self, state: State) -> Weights:
        network = self._network
        return Weights(ENGINE, network.family, network.size, self._order.data.names, self._imgsz, state)

    def _seconds(self) -> float:
        return float(self._before + time.monotonic() - self._began)

    def _on_data(self, training: Any) -> None:
        taken = len(training.train_loader.dataset) + len(training.test_loader.dataset)
        missing = len(self._order.data.train) + len(self._order.data.val) - taken
        if missing:
            why = "it takes none below 10 pixels, and no label file with both boxes and polygons"
            self._notes.append(f"{ENGINE} left out {missing} of the pictures: {why}")

    def _on_epoch_begin(self, training: Any) -> None:
        # It is called again where the first epoch begins anew with a smaller batch.
        self._batches = 0
        self._tell_batch(training)

    def _on_batch(self, training: Any) -> None:
        self._batches += 1
        self._tell_batch(training)

    def _on_validation(self, training: Any, validator: object) -> None:
        del validator
        self._tell_batch(training)

    def _tell_batch(self, training: Any) -> None:
        self._watcher.batch(training.epoch + 1, self._batches, len(training.train_loader))

    def _on_losses(self, training: Any) -> None:
        if not all(math.isfinite(loss) for loss in training.tloss.values()):
            raise InvalidInput("the loss is no longer a number; try a lower hyperparams.lr0", fields=["hyperparams"])

    def _on_epoch(self, training: Any) -> None:
        self._last = {name: value.detach().cpu().clone() for name, value in training.average().items()}
        epoch = self._epoch(training)
        told = self._told | {"epoch": epoch.number, "seconds": self._seconds(), "loss": epoch.train_loss}
        if epoch.best:
            told |= {"best_epoch": epoch.number, "mAP50": epoch.mAP50, "mAP50_95": epoch.mAP50_95}
            self._best = self._last
        patience = self._order.patience
        stopped = patience is not None and epoch.number - told["best_epoch"] >= patience
        self._told = told | {"stopped_early": stopped and epoch.number < epoch.total}
        training.stop |= stopped
        self._watcher.epoch(epoch)

    def _epoch(self, training: Any) -> Epoch:
        losses, found = training.label_loss_items(training.tloss), training.metrics
        box, cls, dfl = (float(losses.get(f"train/{name}_loss", 0.0)) for name in ("box", "cls", "dfl"))
        began, self._epoch_began = self._epoch_began, time.monotonic()
        map50_95 = float(found["metrics/mAP50-95(B)"])
        return Epoch(
            number=training.epoch + 1,
            total=self._order.epochs,
            train_loss=sum(losses.values()),
            box_loss=box,
            cls_loss=cls,
            dfl_loss=dfl,
            mAP50=float(found["metrics/mAP50(B)"]),
            mAP50_95=map50_95,
            precision=float(found["metrics/precision(B)"]),
            recall=float(found["metrics/recall(B)"]),
            seconds=self._epoch_began - began,
            best=map50_95 > self._told["mAP50_95"],
            checkpoint=self._checkpoint(training),
        )

    def _checkpoint(self, training: Any) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            own = {"kind": CHECKPOINT, "run": self._identity(), "told": self._told, "best": self._best}
            tensors.write(path, training.checkpoint() | own)

        return write
