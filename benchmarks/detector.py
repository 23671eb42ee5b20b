"""How good a detector gets on the sample shapes, and that an interrupted training ends as an undisturbed one.

The recipe and the seeds below were fixed before the measurement; pictures of the test split are seen by nothing before
the judgement, which is COCO's own. Takes about five minutes on an idle machine of 2 cores.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.report import Figure
from glowplug.errors import Interrupted
from glowplug.load_context import LoadContext
from glowplug.model import Resumed, RunContext
from glowplug.workloads.detection.samples import Recipe, write
from glowplug.workloads.detection.values import Dataset, Hyperparams, Trained

SHAPES = Recipe(side=128, seed=0)
TRAINING = Hyperparams(model="small", epochs=20, batch=8, imgsz=128, seed=0)
BAR = 0.9
CLAIM = "detector: mAP50 on held-out pictures"
FEW_SHAPES = Recipe({"train": 48, "val": 16}, side=96, seed=1)
FEW_EPOCHS = Hyperparams(model="small", epochs=4, batch=8, imgsz=96, seed=1)
NUMBERS = ("train_loss", "box_loss", "cls_loss", "dfl_loss", "mAP50", "mAP50_95")


def measure() -> list[Figure]:
    """Return the figures; without the extra, a figure that says so."""
    if importlib.util.find_spec("libreyolo") is None:
        return [Figure(CLAIM, "not measured: needs glowplug[detection]", f">= {BAR}")]
    with tempfile.TemporaryDirectory(prefix="glowplug-detector-") as folder:
        return [*_exactness(Path(folder)), *_quality(Path(folder))]


class Watched(RunContext):
    """Keeps the epochs; with `epochs_at_once`, interrupts at the first batch after so many."""

    def __init__(self, scratch: Path, resumed: Resumed | None = None, epochs_at_once: int | None = None) -> None:
        scratch.mkdir()
        super().__init__(scratch, resumed=resumed)
        self.epochs: list[Mapping[str, float]] = []
        self._epochs_at_once = epochs_at_once

    def metrics(self, **values: float) -> None:
        """Keep the epoch."""
        self.epochs.append(values)

    def check(self) -> None:
        """Interrupt when it is time."""
        if self._epochs_at_once is not None and len(self.epochs) >= self._epochs_at_once:
            raise Interrupted

    def log(self, text: str) -> None:
        """Keep the output for the figures."""


def _exactness(folder: Path) -> list[Figure]:
    model, shapes = _detector(), write(folder / "few", FEW_SHAPES)
    runs = []
    for name in ("one", "other"):
        ctx = Watched(folder / name)
        model.train(ctx, Dataset(s3_prefix=shapes), hyperparams=FEW_EPOCHS)
        runs.append((ctx.epochs, (ctx.scratch / "saved/best.safetensors").read_bytes()))
    broken = _interrupted_at_every_epoch(model, shapes, folder)
    spread, distance = _difference(runs[0][0], runs[1][0]), _difference(runs[0][0], broken[0])
    weights = "bit-equal" if broken[1] == runs[0][1] else "other weights"
    said = f"largest difference {distance:.2g}, {weights}; two undisturbed runs: {spread:.2g}"
    how = f"{FEW_EPOCHS.epochs} epochs, {len(NUMBERS)} numbers each, one thread"
    claim = "detector: interrupted at every epoch against undisturbed"
    return [Figure(claim, said, "<= two undisturbed runs", distance <= spread, how)]


def _interrupted_at_every_epoch(model: Any, shapes: Path, folder: Path) -> tuple[list[Mapping[str, float]], bytes]:
    epochs: list[Mapping[str, float]] = []
    resumed: Resumed | None = None
    while True:
        random.seed()
        ctx = Watched(folder / f"part-{len(epochs)}", resumed, 1 if len(epochs) + 1 < FEW_EPOCHS.epochs else None)
        try:
            model.train(ctx, Dataset(s3_prefix=shapes), hyperparams=FEW_EPOCHS)
        except Interrupted:
            epochs += ctx.epochs
            resumed = ctx.resume()
        else:
            return [*epochs, *ctx.epochs], (ctx.scratch / "saved/best.safetensors").read_bytes()


def _difference(one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]) -> float:
    pairs = zip(one, other, strict=True)
    return max(abs(first[name] - second[name]) for first, second in pairs for name in NUMBERS)


def _quality(folder: Path) -> list[Figure]:
    model, shapes = _detector(), write(folder / "shapes", SHAPES)
    ctx = Watched(folder / "training")
    begun = time.process_time()
    trained: Trained = model.train(ctx, Dataset(s3_prefix=shapes), hyperparams=TRAINING)
    busy = time.process_time() - begun
    map50, map50_95 = _judged(ctx.scratch / "saved/best.safetensors", shapes, "test")
    count = SHAPES.pictures["test"]
    how = f"{trained.model}, {TRAINING.epochs} epochs of {SHAPES.pictures['train']} pictures, seed {TRAINING.seed}"
    return [
        Figure(CLAIM, f"{map50:.3f} of {count}", f">= {BAR}", map50 >= BAR, how),
        Figure("detector: mAP50-95 on the same", f"{map50_95:.3f}"),
        Figure("detector: mAP50 on the val split", f"{trained.final_metrics.final_mAP50:.3f}"),
        Figure(
            "detector: training", f"{trained.training_time:.0f} s, {busy:.0f} s of the processor", "", None, _load()
        ),
    ]


def _judged(weights: Path, shapes: Path, split: str) -> tuple[float, float]:
    """Return mAP50 and mAP50-95 over the pictures of a split, by pycocotools."""
    from PIL import Image
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from glowplug.workloads.detection.libreyolo_engine import LibreYoloEngine

    finder = LibreYoloEngine().open(weights, "cpu")
    truth, found, images = [], [], []
    for number, path in enumerate(sorted((shapes / "images" / split).iterdir()), start=1):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        images.append({"id": number, "width": image.width, "height": image.height})
        truth += list(_truths(shapes / "labels" / split / f"{path.stem}.txt", number, image.size))
        for box in finder.find([image], conf=0.001, iou=0.65, imgsz=SHAPES.side)[0]:
            left, top, right, bottom = box.box
            at = [left, top, right - left, bottom - top]
            label = list(finder.names).index(box.label)
            found.append({"image_id": number, "category_id": label, "bbox": at, "score": box.confidence})
    for number, one in enumerate(truth, start=1):
        one["id"] = number
    with _silent():
        coco = COCO()
        kinds = [{"id": number, "name": name} for number, name in enumerate(finder.names)]
        coco.dataset = {"images": images, "annotations": truth, "categories": kinds}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(json.loads(json.dumps(found))), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])


def _truths(label: Path, image: int, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    for line in label.read_text().splitlines():
        kind, x, y, wide, high = map(float, line.split())
        width, height = wide * size[0], high * size[1]
        at = [x * size[0] - width / 2, y * size[1] - height / 2, width, height]
        yield {"image_id": image, "category_id": int(kind), "bbox": at, "area": width * height, "iscrowd": 0}


def _detector() -> Any:
    from glowplug.workloads.detection.model import Detector

    model = Detector()
    model.load(LoadContext(options={"threads": "1"}))
    return model


def _load() -> str:
    return "load of the machine at the end: {:.1f}, {:.1f}, {:.1f}".format(*os.getloadavg())


@contextmanager
def _silent() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.claim}: {figure.measured} {figure.bar} ({figure.method})")
