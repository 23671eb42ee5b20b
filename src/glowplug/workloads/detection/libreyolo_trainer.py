"""libreyolo's trainer of YOLOv9, made to stop at any batch and to go on from a checkpoint of ours exactly.

libreyolo resumes by itself, but leaves Python's random numbers out, which shuffle its mosaics, and opens its own
checkpoint as a pickle. Here nothing is read or written but by `tensors`.
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import tensors
from glowplug.workloads.detection.chance import chance, set_chance
from glowplug.workloads.detection.libreyolo_library import YOLO9Trainer

KIND = "detector checkpoint"
State = Mapping[str, torch.Tensor]


class Trainer(YOLO9Trainer):
    """Calls `on_batch` with the batches done of an epoch; `run` says what the run is, so that none goes on as another.

    `best` is the average of the weights as it was after the best epoch. `told` is what the caller wants to find again
    after a resume.
    """

    def __init__(self, run: Mapping[str, Any], on_batch: Callable[[int, int], None], **settings: Any) -> None:
        super().__init__(**settings)
        self.run = dict(run)
        self.told: dict[str, Any] = {}
        self.best: State = {}
        self._on_batch = on_batch
        self._batches, self._batches_of = 0, -1
        self._watched = False
        self._chance: Mapping[str, Any] | None = None
        self.callbacks.append(_ChanceRestored(self))

    def setup(self) -> None:
        """Build what training needs, and have validation report its batches too."""
        super().setup()
        if not self._watched:
            self._watched = True
            self.ema_model.ema.register_forward_pre_hook(lambda *call: self._report())

    def on_forward(self, imgs: torch.Tensor, targets: torch.Tensor, polygons: Any = None) -> Any:
        """Report before each batch."""
        if self._batches_of != self.current_epoch:
            self._batches_of, self._batches = self.current_epoch, 0
        self._report()
        self._batches += 1
        return super().on_forward(imgs, targets, polygons)

    def _report(self) -> None:
        self._on_batch(self._batches, len(self.train_loader))

    def _save_checkpoint(self, epoch: int, *details: Any, is_best: bool = False, **more: Any) -> None:
        if is_best:
            self.best = {name: value.detach().cpu().clone() for name, value in self.average().items()}

    def average(self) -> State:
        """Return the running average of the weights, which is what is validated and delivered."""
        state: State = self.ema_model.ema.state_dict()
        return state

    def write(self, path: Path) -> None:
        """Write all that the rest of the run depends on; to be called between two epochs."""
        tree = {
            "kind": KIND,
            "run": self.run,
            "told": self.told,
            "epoch": self.current_epoch + 1,
            "best": [self.best_epoch, self.best_mAP50, self.best_mAP50_95, self.patience_counter],
            "network": self.model.state_dict(),
            "average": self.average(),
            "updates": self.ema_model.updates,
            "best_average": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "chance": chance(),
        }
        tensors.write(path, tree)

    def restore(self, path: Path) -> None:
        """Go on from what `write` wrote; to be called after `setup`.

        Raises:
            InvalidInput: it is no checkpoint, or one of another run.
        """
        tree = tensors.read(path, "checkpoint")
        if tree.get("kind") != KIND or tree["run"] != self.run:
            differing = json.dumps(_differing(tree.get("run"), self.run))
            raise InvalidInput(f"the checkpoint is of another training ({differing}); start a new job")
        self.start_epoch, self.told = tree["epoch"], tree["told"]
        self.current_epoch = self.start_epoch - 1
        self.best_epoch, self.best_mAP50, self.best_mAP50_95, self.patience_counter = tree["best"]
        self.model.load_state_dict(tree["network"])
        self.ema_model.ema.load_state_dict(tree["average"])
        self.ema_model.updates = tree["updates"]
        self.best = tree["best_average"]
        self.optimizer.load_state_dict(tree["optimizer"])
        if self.scaler is not None and tree["scaler"] is not None:
            self.scaler.load_state_dict(tree["scaler"])
        self._initialize_scheduler_lr()
        self._chance = tree["chance"]

    def begin(self) -> None:
        """Put the random numbers where the checkpoint left them; the last thing before the first batch."""
        if self._chance is not None:
            set_chance(self._chance)


class _ChanceRestored:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_train_start(self, event: object) -> None:
        """Set it after everything else that might draw."""
        del event
        self._trainer.begin()


def _differing(one: Any, other: Mapping[str, Any]) -> dict[str, list[Any]]:
    old: Mapping[str, Any] = one if isinstance(one, Mapping) else {}
    return {name: [old.get(name), other.get(name)] for name in {*old, *other} if old.get(name) != other.get(name)}
