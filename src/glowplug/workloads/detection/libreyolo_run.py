"""One attempt at one training with libreyolo: prepared, run to its end, and written down."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.workloads.detection.engine import STRIDE, Epoch, TrainedWeights, TrainOrder, Watcher, whole_size
from glowplug.workloads.detection.layout import laid_out
from glowplug.workloads.detection.libreyolo_library import LibreYOLO9
from glowplug.workloads.detection.libreyolo_names import ENGINE, FAMILY
from glowplug.workloads.detection.libreyolo_trainer import Trainer
from glowplug.workloads.detection.weights import Weights, read

if TYPE_CHECKING:
    from libreyolo.training.callbacks import TrainEpochEvent

FEW_STEPS = 10_000
_AUXILIARY = ("aux.", "aux_head.")


class Run:
    """One attempt at one training."""

    def __init__(self, order: TrainOrder, watcher: Watcher, size: str, notes: list[str]) -> None:
        self._order = order
        self._watcher = watcher
        self._size = size
        self._notes = notes
        self._imgsz = whole_size(order.imgsz)

    def result(self) -> TrainedWeights:
        """Train to the end, and write the weights."""
        self._began = time.monotonic()
        self._trainer = trainer = self._prepared()
        self._before, order = trainer.told.get("seconds", 0.0), self._order
        if trainer.start_epoch < order.epochs and not trainer.told.get("stopped_early"):
            trainer.train()
        best, last = order.folder / "best.safetensors", order.folder / "last.safetensors"
        self._weights(trainer.best).write(best)
        self._weights(trainer.average()).write(last)
        told = trainer.told
        return TrainedWeights(
            best=best,
            last=last,
            best_epoch=trainer.best_epoch,
            epochs=told["epoch"],
            stopped_early=told["stopped_early"],
            seconds=self._seconds(),
            model=f"{FAMILY}-{self._size}",
            imgsz=self._imgsz,
            notes=tuple(self._notes),
            metrics={"loss": told["loss"], "mAP50": trainer.best_mAP50, "mAP50_95": trainer.best_mAP50_95},
        )

    def _prepared(self) -> Trainer:
        order = self._order
        data = laid_out(order.data, order.folder / "set")
        if order.batch == 1 and self._imgsz == STRIDE:
            # Of one picture of that size the last layers see a single point, of which there is no mean.
            told = f"hyperparams.imgsz: {STRIDE} is too small for batches of one picture; ask for {2 * STRIDE}"
            raise InvalidInput(told, fields=["hyperparams.imgsz"])
        if self._imgsz != order.imgsz:
            self._notes.append(f"imgsz {order.imgsz} became {self._imgsz}, a multiple of {STRIDE}")
        detector = LibreYOLO9(None, size=self._size, nb_classes=len(order.data.names), device=order.device)
        detector.names = dict(enumerate(order.data.names))
        if order.weights is not None and order.resume is None:
            self._start_from(detector, read(order.weights, ENGINE, "weights"))
        trainer = Trainer(
            order.identity() | {"size": self._size},
            self._on_batch,
            model=detector.model,
            wrapper_model=detector,
            callbacks=self._on_epoch,
            **self._settings(data),
        )
        trainer.setup()
        if order.resume is not None:
            trainer.restore(order.resume)
        return trainer

    def _settings(self, data: Path) -> dict[str, Any]:
        order, folder = self._order, self._order.folder
        steps = order.epochs * math.ceil(len(order.data.train) / order.batch)
        # Stochastic gradient descent needs thousands of steps to get anywhere from nothing; AdamW a few hundred.
        adaptive = steps < FEW_STEPS
        return {
            "size": self._size,
            "num_classes": len(order.data.names),
            "data": str(data),
            "epochs": order.epochs,
            "batch": order.batch,
            "imgsz": self._imgsz,
            "seed": order.seed,
            "device": order.device,
            "project": str(folder),
            "name": "run",
            "workers": 0,
            "eval_interval": 1,
            "patience": order.patience or 0,
            "amp": order.device.startswith("cuda"),
            "optimizer": "adamw" if adaptive else "sgd",
            "lr0": order.lr0 or (0.001 if adaptive else 0.01),
            "warmup_epochs": min(3, order.epochs // 5),
            "no_aug_epochs": min(15, order.epochs // 4),
        }

    def _start_from(self, detector: Any, weights: Weights) -> None:
        own = detector.model.state_dict()
        fitting = weights.fitting(own)
        if weights.size != self._size or len(fitting) < len(own) // 2:
            raise InvalidInput(
                f"weights: of {weights.model}, not of {FAMILY}-{self._size}; name their model", fields=["weights"]
            )
        own.update(fitting)
        detector.model.load_state_dict(own)
        if left_out := len(weights.state) - len(fitting):
            self._notes.append(f"{left_out} tensors of the given weights are for other classes and were left out")

    def _weights(self, state: Any) -> Weights:
        kept = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
        return Weights(ENGINE, FAMILY, self._size, self._order.data.names, self._imgsz, kept)

    def _seconds(self) -> float:
        return float(self._before + time.monotonic() - self._began)

    def _on_batch(self, done: int, total: int) -> None:
        self._watcher.batch(self._trainer.current_epoch + 1, done, total)

    def _on_epoch(self, event: TrainEpochEvent) -> None:
        if not event.validated:
            raise TaskFailed(f"epoch {event.epoch} could not be validated; the log says why")
        if not math.isfinite(event.train_loss):
            raise InvalidInput("the loss is no longer a number; try a lower hyperparams.lr0", fields=["hyperparams"])
        patience, best = self._order.patience, event.best_epoch or event.epoch
        stopped = patience is not None and event.epoch - best >= patience and event.epoch < event.total_epochs
        self._trainer.told = {
            "epoch": event.epoch,
            "loss": event.train_loss,
            "stopped_early": stopped,
            "seconds": self._seconds(),
        }
        self._watcher.epoch(_epoch(event, self._trainer))


def _epoch(event: TrainEpochEvent, trainer: Trainer) -> Epoch:
    losses, found = event.train_loss_items, event.val_metrics
    return Epoch(
        number=event.epoch,
        total=event.total_epochs,
        train_loss=event.train_loss,
        box_loss=losses["box"],
        cls_loss=losses["cls"],
        dfl_loss=losses["dfl"],
        mAP50=found["metrics/mAP50"],
        mAP50_95=found["metrics/mAP50-95"],
        precision=found.get("metrics/precision", math.nan),
        recall=found.get("metrics/recall", math.nan),
        seconds=event.epoch_seconds,
        best=event.is_best,
        checkpoint=trainer.write,
    )
