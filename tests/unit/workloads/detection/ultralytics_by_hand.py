"""The detector with the real Ultralytics, tried by hand: no test brings it in, since its licence is AGPL-3.0.

In an environment of your own: `pip install -e . ultralytics onnx onnxruntime`, then
`python -m tests.unit.workloads.detection.ultralytics_by_hand`.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tests.unit.workloads.contexts import Remembering, RememberingLoad
from tests.unit.workloads.detection import folders

from glowplug.errors import Canceled, GlowplugError, Interrupted, InvalidInput, OutOfMemory
from glowplug.model import Resumed
from glowplug.workloads.detection import samples, tensors
from glowplug.workloads.detection.model import Detector
from glowplug.workloads.detection.use_values import Params
from glowplug.workloads.detection.values import Dataset, Hyperparams, Trained

EPOCHS = 3
QUICK = Hyperparams(model="tiny", epochs=EPOCHS, batch=8, imgsz=64, seed=5)
OTHERS = ("yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")
WATCHED = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "pickle.find_class")


class Watched:
    """Remembers what the process wrote, whom it called, what it started and what it unpickled."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if event in WATCHED:
            self.seen.append((event, repr(details)[:200]))
        if event == "open" and isinstance(details[0], str) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.seen.append(("write", details[0]))

    def strange(self, root: Path) -> set[tuple[str, str]]:
        """Return all of it but what was written below `root`, or below a folder that is no longer there."""
        return {
            (event, what)
            for event, what in self.seen
            if event != "write"
            or (not what.startswith(str(root)) and Path(what).parent.is_dir() and Path(what).exists())
        }


class StoppedWhen(Remembering):
    """Raises `stop` at the first check at which `when` holds."""

    def __init__(self, scratch: Path, stop: Canceled | Interrupted, when: Callable[[Remembering], bool]) -> None:
        super().__init__(scratch)
        self._at = stop, when

    def check(self) -> None:
        stop, when = self._at
        if when(self):
            raise stop


class Tried:
    """One detector, one small data set, and a folder for each thing that is tried."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shapes = samples.write(root / "shapes", samples.Recipe({"train": 24, "val": 8}, side=64))
        self.detector = Detector()
        self.detector.load(RememberingLoad(engine="ultralytics", threads="1"))
        self.threads = threads_of_each_call()

    def train(self, ctx: Remembering, asked: Hyperparams = QUICK, **more: Any) -> Trained:
        """Train on the shapes."""
        return self.detector.train(ctx, Dataset(s3_prefix=self.shapes), hyperparams=asked, **more)

    def whole(self) -> Path:
        """Train to the end; returns the weights."""
        ctx = Remembering(self.root / "whole")
        result = self.train(ctx)
        assert [told["epoch"] for told in ctx.measured] == [1, 2, 3]
        assert [told.done for told in ctx.told] == sorted(told.done for told in ctx.told)
        assert (result.model, result.engine, result.stopped_early) == ("yolov8n", "ultralytics", False)
        assert set(self.threads) == {1}
        print("three epochs:", [round(told["train_loss"], 4) for told in ctx.measured], result.final_metrics)
        return ctx.file("best.safetensors")

    def resumed(self) -> None:
        """Interrupt after the first epoch and go on; then once more after the end."""
        first = StoppedWhen(self.root / "first", Interrupted(), lambda ctx: bool(ctx.measured))
        refused(Interrupted, self.train, first)
        checkpoint = first.resume()
        assert checkpoint is not None
        assert checkpoint.step == 1
        assert tensors.read(checkpoint.path, "x")["optimizer"]["state"]
        second = Remembering(self.root / "second", resumed=checkpoint)
        result = self.train(second)
        assert [told["epoch"] for told in second.measured] == [2, 3]
        assert result.final_metrics.training_epochs == EPOCHS
        assert result.training_time > sum(told["epoch_seconds"] for told in [*first.measured, *second.measured])
        again = self.train(Remembering(self.root / "third", resumed=second.resume()))
        assert again.final_metrics == result.final_metrics
        print("resumed:", [round(told["train_loss"], 4) for told in [*first.measured, *second.measured]])
        other = Remembering(self.root / "other", resumed=Resumed(1, checkpoint.path))
        print(refused(InvalidInput, self.train, other, Hyperparams(model="tiny", epochs=4, batch=8, imgsz=64, seed=5)))

    def stopped(self) -> None:
        """Cancel at the first batch, in a validation and between epochs; stop early by patience."""
        moments: dict[str, Callable[[Remembering], bool]] = {
            "first batch": lambda ctx: bool(ctx.told) and ctx.told[-1].note.startswith("epoch"),
            "validation": lambda ctx: (
                bool(ctx.told) and ctx.told[-1].note.startswith("epoch") and ctx.told[-1].done == 3
            ),
            "between epochs": lambda ctx: bool(ctx.measured),
        }
        for moment, when in moments.items():
            ctx = StoppedWhen(self.root / moment, Canceled(), when)
            refused(Canceled, self.train, ctx)
            print(f"canceled, {moment}: {len(ctx.measured)} epochs told")
        ctx = Remembering(self.root / "patient")
        early = self.train(ctx, Hyperparams(model="tiny", epochs=9, batch=8, imgsz=64, patience=2))
        assert early.stopped_early
        again = self.train(
            Remembering(self.root / "over", resumed=ctx.resume()),
            Hyperparams(model="tiny", epochs=9, batch=8, imgsz=64, patience=2),
        )
        assert again.stopped_early
        print("stopped early after", early.final_metrics.training_epochs, "epochs, the best was", early.best_epoch)

    def used(self, weights: Path, name: str) -> None:
        """Convert, compare, and look for things with both networks, drawing what is found."""
        ctx = Remembering(self.root / f"{name}-onnx")
        converted = self.detector.convert(ctx, weights)
        pictures = sorted((self.shapes / "images/val").iterdir())[:3]
        for number, path in enumerate((weights, ctx.file("best.onnx"))):
            self.threads.clear()
            looking = Remembering(self.root / f"{name}-look{number}")
            found = self.detector.infer(looking, path, tuple(pictures), params=Params(conf=0.001, draw=True))
            assert all(looked.output for looked in found.results)
            assert set(self.threads) <= {1}
            print(f"  {name}, {path.suffix}:", [len(looked.detections) for looked in found.results])
        print(f"{name}:", converted.comparison)

    def others(self) -> None:
        """Train, convert and use a network of each other family for an epoch."""
        for name in OTHERS:
            ctx = Remembering(self.root / name)
            result = self.train(ctx, Hyperparams(model=name, epochs=1, batch=8, imgsz=64))
            assert result.model == name
            print(name, {key: round(value, 3) for key, value in ctx.measured[0].items() if "loss" in key})
            try:
                self.used(ctx.file("best.safetensors"), name)
            except GlowplugError as error:
                print(f"{name}: {error}")

    def fine_tuned(self, weights: Path) -> None:
        """Go on from weights of other classes; with the name of another network they are refused."""
        root = folders.write(
            self.root / "dots", {"train/a": "0 0.5 0.5 0.2 0.2\n", "val/b": "0 0.5 0.5 0.2 0.2\n"}, 'names: ["dot"]\n'
        )
        asked = Hyperparams(model="small", epochs=1, imgsz=60)
        result = self.detector.train(
            Remembering(self.root / "tuned"), Dataset(s3_prefix=root), hyperparams=asked, weights=weights
        )
        print("fine-tuned:", result.notes)
        small = Hyperparams(model="small", epochs=1, imgsz=32)
        print(
            refused(
                InvalidInput,
                self.detector.train,
                Remembering(self.root / "32"),
                Dataset(s3_prefix=root),
                hyperparams=small,
            )
        )
        print(
            refused(
                InvalidInput,
                self.train,
                Remembering(self.root / "wrong"),
                Hyperparams(model="yolo11n"),
                weights=weights,
            )
        )

    def full(self) -> None:
        """Fill the card: halved batches are told, and where they are of no use, the job says what would be."""
        from ultralytics.nn.tasks import DetectionModel

        loss, calls = DetectionModel.loss, [0]

        def filling(self: Any, *batch: Any, **more: Any) -> Any:
            calls[0] += 1
            if calls[0] <= most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return loss(self, *batch, **more)

        with mock.patch.object(DetectionModel, "loss", filling):
            most = 1
            print("full once:", self.train(Remembering(self.root / "full1")).notes)
            calls[0], most = 0, 100
            print(refused(OutOfMemory, self.train, Remembering(self.root / "full2")))

    def hostile(self, weights: Path) -> None:
        """Hand over a pickle, and weights that name a description of somebody else's."""
        (self.root / "best.pt").write_bytes(b"PK\x03\x04" + b"x" * 100)
        print(refused(InvalidInput, self.detector.convert, Remembering(self.root / "pickle"), self.root / "best.pt"))
        for changed in ({"family": str(self.root / "evil")}, {"size": "q"}, {"state": {"x": torch.zeros(1)}}):
            tensors.write(self.root / "odd", tensors.read(weights, "x") | changed)
            print(refused(InvalidInput, self.detector.convert, Remembering(self.root / "odd-run"), self.root / "odd"))

    def learned(self) -> None:
        """Train long enough to find something."""
        root = samples.write(self.root / "many", samples.Recipe({"train": 200, "val": 40}, side=128))
        asked = Hyperparams(model="small", epochs=20, batch=8, imgsz=128)
        ctx = Remembering(self.root / "long")
        result = self.detector.train(ctx, Dataset(s3_prefix=root), hyperparams=asked)
        print("learned:", result.final_metrics, f"{result.training_time:.0f} s")
        self.used(ctx.file("best.safetensors"), "learned")


def threads_of_each_call() -> list[int]:
    """Have Ultralytics prepare for many threads, as on a machine of many cores; returns those of each call."""
    import ultralytics.utils.torch_utils as prepared
    from ultralytics.nn.tasks import DetectionModel

    prepared.NUM_THREADS, counted, call = 4, list[int](), DetectionModel.forward

    def counting(self: Any, *batch: Any, **more: Any) -> Any:
        counted.append(torch.get_num_threads())
        return call(self, *batch, **more)

    DetectionModel.forward = counting
    return counted


def refused(kind: type[BaseException], call: Callable[..., object], *args: Any, **more: Any) -> str:
    """Return what the error of this kind says; without one, that is an error."""
    try:
        call(*args, **more)
    except kind as error:
        return f"{kind.__name__}: {error}"
    raise AssertionError(f"{kind.__name__} was expected")


def main() -> None:
    """Try all of it, and say what was seen."""
    torch.set_num_threads(1)
    watched = Watched()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        tried = Tried(root)
        weights = tried.whole()
        tried.used(weights, "yolov8n")
        tried.resumed()
        tried.stopped()
        tried.fine_tuned(weights)
        tried.full()
        tried.hostile(weights)
        tried.others()
        tried.learned()
        print("threads afterwards:", torch.get_num_threads())
        print("outside of its folder:", watched.strange(root) or "nothing")
    versions = {name: importlib.metadata.version(name) for name in ("ultralytics", "torch", "onnx", "onnxruntime")}
    print("with", versions, sys.version.split()[0])


if __name__ == "__main__":
    main()
