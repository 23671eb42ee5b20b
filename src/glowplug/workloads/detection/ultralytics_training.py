"""Ultralytics' training of a network, made to go on from a checkpoint of ours, and to write and open no pickle."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glowplug.workloads.detection.ultralytics_library import DetectionTrainer

State = Mapping[str, torch.Tensor]


class Training(DetectionTrainer):
    """Trains `network` on `dataset`, from its beginning or from what `checkpoint` held.

    Ultralytics attaches its platform and other people's trackers to what is called a Trainer; this is not.
    """

    def __init__(
        self, network: torch.nn.Module, dataset: Mapping[str, Any], held: Mapping[str, Any] | None, **settings: Any
    ) -> None:
        self._described, self._held = dict(dataset), held
        threads = torch.get_num_threads()
        super().__init__(overrides=settings)
        # It has just taken as many as it likes.
        torch.set_num_threads(threads)
        self.model = network

    def get_dataset(self) -> dict[str, Any]:
        """Return what the data set is: it was checked before, and nothing of it is to be fetched or run."""
        return self._described

    def build_dataset(self, *how: Any, **more: Any) -> Any:
        """Read a split; what is kept of its labels is a pickle, and goes before it could be opened."""
        made = super().build_dataset(*how, **more)
        for kept in Path(self._described["path"]).glob("*.cache"):
            kept.unlink()
        return made

    def save_model(self) -> bool:
        """Write no checkpoint: Ultralytics' own are pickles."""
        return False

    def final_eval(self) -> None:
        """Leave out the look at the pickle of the best epoch."""

    def resume_training(self, ckpt: Any) -> None:
        """Go on from the checkpoint; called when everything is built, before the first batch."""
        del ckpt
        if self._held is not None:
            self.resume = True
            super().resume_training({"epoch": self._held["epoch"] - 1})

    def _load_checkpoint_state(self, ckpt: Any) -> None:
        held = self._held or ckpt
        self.model.load_state_dict(held["network"])
        self.ema.ema.load_state_dict(held["average"])
        self.ema.updates = held["updates"]
        self.optimizer.load_state_dict(held["optimizer"])
        self.scaler.load_state_dict(held["scaler"])

    def average(self) -> State:
        """Return the running average of the weights, which is what is validated and delivered."""
        state: State = self.ema.ema.state_dict()
        return state

    def checkpoint(self) -> dict[str, Any]:
        """Return all that the rest of the run depends on, chance aside; to be asked for between two epochs."""
        return {
            "epoch": self.epoch + 1,
            "network": self.model.state_dict(),
            "average": self.average(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
