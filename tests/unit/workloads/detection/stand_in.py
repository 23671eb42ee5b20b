"""As much of Ultralytics as a training needs, for tests: the real one, whose licence is AGPL-3.0, is tried by hand.

It calls what the real one calls, in its order, and trains a few numbers. What it must never do fails the test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

BUILT_WITH_IT = ("library", "network", "training", "run")
TOO_MANY_THREADS = 3


class DetectionModel(torch.nn.Module):
    """A body, and a head with a number for each class."""

    def __init__(self, file: str, nc: int, *, verbose: bool) -> None:
        super().__init__()
        assert not verbose
        self.file = file
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        self.head = torch.nn.Linear(2, nc)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        loss: torch.Tensor = self.head(self.body(batch)).square().mean()
        return loss


class DetectionTrainer:
    """The order of things in Ultralytics' trainer. `quality` is the mAP of each epoch, `fails` what a batch raises."""

    quality: tuple[float, ...] = (0.2, 0.1, 0.4, 0.3, 0.3)
    fails: BaseException | None = None
    lost = 0
    made: tuple[DetectionTrainer, ...] = ()

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        torch.set_num_threads(TOO_MANY_THREADS)
        DetectionTrainer.made = (*DetectionTrainer.made, self)
        self.args = SimpleNamespace(**overrides)
        self.callbacks: dict[str, list[Callable[[Any], None]]] = {}
        self.batch_size, self.epochs, self.start_epoch, self.epoch = self.args.batch, self.args.epochs, 0, 0
        self.resume = self.stop = False
        self.data = self.get_dataset()
        self.model: Any = None

    def get_dataset(self) -> dict[str, Any]:
        """Fetch what the data set says is to be fetched."""
        raise AssertionError("it may fetch and run what a data.yaml says")

    def build_dataset(self, folder: str) -> list[Path]:
        """Return the pictures, and keep what was read of them in a pickle."""
        kept = Path(folder).with_suffix(".cache")
        assert not kept.exists(), "a pickle would be opened"
        kept.write_bytes(b"\x80")
        return sorted(Path(folder).glob("*.png"))[self.lost :]

    def save_model(self) -> bool:
        """Write a pickle."""
        raise AssertionError("a pickle is written")

    def final_eval(self) -> None:
        """Open that pickle."""
        raise AssertionError("a pickle is opened")

    def add_callback(self, event: str, told: Callable[[Any], None]) -> None:
        """Remember whom to tell."""
        self.callbacks.setdefault(event, []).append(told)

    def run_callbacks(self, event: str, teller: object = None) -> None:
        """Tell them."""
        for told in self.callbacks.get(event, []):
            told(teller or self)

    def label_loss_items(self, items: Mapping[str, float]) -> dict[str, float]:
        """Return the losses by the names that it writes down."""
        return {f"train/{name}": value for name, value in items.items()}

    def resume_training(self, ckpt: Any) -> None:
        """Go on from a checkpoint."""
        if ckpt is not None and self.resume:
            self._load_checkpoint_state(ckpt)
            self.start_epoch = ckpt["epoch"] + 1

    def _load_checkpoint_state(self, ckpt: Any) -> None:
        raise AssertionError("its own checkpoints are pickles")

    def train(self) -> None:
        """Train to the end, or to where somebody says stop."""
        self.threads = torch.get_num_threads()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scaler = torch.amp.GradScaler("cuda", enabled=False)
        self.ema = SimpleNamespace(ema=deepcopy(self.model), updates=0)
        self.train_loader, self.test_loader = (self._loader(self.data[split]) for split in ("train", "val"))
        self.resume_training(None)
        self.run_callbacks("on_pretrain_routine_end")
        for number in range(self.start_epoch, self.epochs):
            self.epoch = number
            self._trained()
            self.run_callbacks("on_train_epoch_end")
            self.run_callbacks("on_val_batch_start", object())
            keys = ("mAP50-95", "mAP50", "precision", "recall")
            self.metrics = {f"metrics/{key}(B)": self.quality[self.epoch] * (1 + (key == "mAP50")) for key in keys}
            self.save_model()
            self.run_callbacks("on_fit_epoch_end")
            if self.stop:
                break
        self.final_eval()

    def _loader(self, folder: str) -> Any:
        return _Loader(self.build_dataset(folder), self.batch_size)

    def _trained(self) -> None:
        self.run_callbacks("on_train_epoch_start")
        for _ in range(len(self.train_loader)):
            if self.fails is not None:
                raise self.fails
            loss = self.model(torch.ones(1, 2))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.ema.updates += 1
            self.ema.ema.load_state_dict(self.model.state_dict())
            self.tloss = {"box_loss": loss.item(), "cls_loss": 1.0, "dfl_loss": 0.5}
            self.run_callbacks("on_train_batch_end")


class _Loader:
    def __init__(self, dataset: list[Path], batch: int) -> None:
        self.dataset = dataset
        self._batch = batch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self._batch)


class YOLO:
    """Finds the same two boxes in every picture, and remembers with how many threads it looked."""

    looked: tuple[int, ...] = ()

    def __init__(self, file: str) -> None:
        self.file = file
        self.model: Any = None
        self._callbacks: list[Callable[[object], object]] = []

    def clear_callback(self, event: str) -> None:
        """Forget whom to tell."""
        assert event == "on_predict_start"
        self._callbacks.clear()

    def add_callback(self, event: str, told: Callable[[object], object]) -> None:
        """Remember whom to tell."""
        assert event == "on_predict_start"
        self._callbacks.append(told)

    def predict(self, images: list[Any], **how: Any) -> list[Any]:
        """Look for things."""
        torch.set_num_threads(TOO_MANY_THREADS)
        for told in self._callbacks:
            told(self)
        self.looked = (*self.looked, torch.get_num_threads())
        assert how["batch"] == len(images)
        numbers = {"cls": [0.0, 1.0], "conf": [0.5, 0.75], "xyxy": [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]}
        boxes = SimpleNamespace(**{name: torch.tensor(value) for name, value in numbers.items()})
        return [SimpleNamespace(boxes=boxes) for _ in images]

    def export(self, **how: Any) -> str:
        """Write the network beside the file that it says it is from."""
        torch.set_num_threads(TOO_MANY_THREADS)
        written = Path(self.model.pt_path).with_suffix(f".{how['format']}")
        written.write_bytes(b"onnx")
        return str(written)


def install(monkeypatch: pytest.MonkeyPatch) -> type[DetectionTrainer]:
    """Have it imported as Ultralytics until the test is over; returns its trainer, a class of this test's own."""
    trainer = type("DetectionTrainer", (DetectionTrainer,), {})
    parts: dict[str, dict[str, Any]] = {
        "": {"YOLO": YOLO},
        ".models.yolo.detect": {"DetectionTrainer": trainer},
        ".nn.tasks": {"DetectionModel": DetectionModel},
        ".utils": {"DEFAULT_CFG_DICT": {"imgsz": 640}},
    }
    for name in ("", ".models", ".models.yolo", ".models.yolo.detect", ".nn", ".nn.tasks", ".utils"):
        module = ModuleType(f"ultralytics{name}")
        module.__dict__.update(parts.get(name, {}))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in BUILT_WITH_IT:
        whole = f"glowplug.workloads.detection.ultralytics_{name}"
        # Set and deleted, so that what is imported meanwhile goes when the test is over.
        monkeypatch.setitem(sys.modules, whole, ModuleType(whole))
        monkeypatch.delitem(sys.modules, whole)
    return trainer
