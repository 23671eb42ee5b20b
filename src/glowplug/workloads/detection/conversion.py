"""The task that converts: the engine writes ONNX, which has to find the same as the original in sample pictures."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.model import RunContext, checked_file_name
from glowplug.workloads.detection import onnx_finder, samples
from glowplug.workloads.detection.engine import Box, Engine, Finder, whole_size
from glowplug.workloads.detection.inference import picture
from glowplug.workloads.detection.use_values import Comparison, Converted

FORMAT = "onnx"
SUFFIX = ".onnx"
TOLERANCE_CONFIDENCE, TOLERANCE_PIXELS = 0.001, 0.1
"""Far below what anybody could see, far above what another order of the same sums makes: about 0.00001."""
SHAPES = ((160, 160), (320, 180), (90, 200), (64, 64))
CONFIDENCES = (0.25, 0.05, 0.01, 0.001, 0.0001, 0.00001, 0.0)
ENOUGH = 5
MOST_COMPARED = 100
OVERLAPS = (0.45, 1.0)
"""As it is used; and, if that is not alike, all boxes: of two that are equally good, each network may keep another."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the task was called with; without `images`, drawn ones are what both networks look at."""

    model_path: Path
    format: str
    name: str
    imgsz: int | None
    images: Sequence[Path]
    threads: int


def convert(ctx: RunContext, engine: Engine, wish: Wish) -> Converted:
    """Write a trained detector as ONNX, and compare the two.

    Raises:
        InvalidInput: it is no detector of this engine, or another format is asked for.
        TaskFailed: the written network finds something else than the original one.
    """
    began = time.monotonic()
    if wish.format != FORMAT:
        raise InvalidInput(f"format: {wish.format[:40]!r} is not known; known is {FORMAT}", fields=["format"])
    wanted = wish.name if wish.name.endswith(SUFFIX) else f"{wish.name}{SUFFIX}"
    name = checked_file_name(wanted, "output.model_name")
    if onnx_finder.is_onnx(wish.model_path):
        raise InvalidInput("model_path: not weights that detector.train writes; give those", fields=["model_path"])
    ctx.progress(0, 3, "opening the weights")
    original = engine.open(wish.model_path, "cpu")
    imgsz = whole_size(wish.imgsz or original.imgsz)
    ctx.check()
    ctx.progress(1, 3, "writing the network as ONNX")
    target = ctx.scratch / "converted.onnx"
    engine.export_onnx(wish.model_path, target, imgsz)
    ctx.check()
    ctx.progress(2, 3, "comparing it with the original")
    pictures = [picture(path, number) for number, path in enumerate(wish.images)] or sample_pictures()
    comparison = compared(original, onnx_finder.opened(target, threads=wish.threads), pictures, imgsz)
    saved = ctx.save(name, target)
    return Converted(
        model_path=saved.uri,
        format=FORMAT,
        sha256=saved.sha256,
        size_bytes=saved.size_bytes,
        imgsz=imgsz,
        names=list(original.names),
        comparison=comparison,
        conversion_time=round(time.monotonic() - began, 3),
    )


def sample_pictures() -> list[Image.Image]:
    """Return pictures of several shapes: always the same ones, of drawn things and of noise."""
    drawn = [samples.drawn(random.Random(size[0]), max(size), 4)[0].crop((0, 0, *size)) for size in SHAPES]  # noqa: S311
    noise = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    return [*drawn, Image.fromarray(noise)]


def compared(original: Finder, other: Finder, pictures: Sequence[Image.Image], imgsz: int) -> Comparison:
    """Return how far what two networks find is apart.

    Raises:
        TaskFailed: it is too far, or one of them finds what the other does not.
    """
    if list(original.names) != list(other.names):
        raise _apart(f"its classes are {', '.join(other.names)[:200]}")
    try:
        return _compared(original, other, pictures, imgsz, OVERLAPS[0])
    except TaskFailed:
        return _compared(original, other, pictures, imgsz, OVERLAPS[1])


def _compared(original: Finder, other: Finder, pictures: Sequence[Image.Image], imgsz: int, iou: float) -> Comparison:
    conf, found = _telling(original, pictures, imgsz, iou)
    again = other.find(pictures, max(conf - TOLERANCE_CONFIDENCE, conf / 2), iou, imgsz)
    boxes, confidence, pixels = 0, 0.0, 0.0
    for number, (wanted, given) in enumerate(zip(found, again, strict=True)):
        for box in wanted[:MOST_COMPARED]:
            twin = _twin(box, given)
            if twin is None:
                raise _apart(f"it does not find the {box.label} in sample picture {number + 1}")
            boxes += 1
            confidence = max(confidence, abs(box.confidence - twin.confidence))
            pixels = max(pixels, _distance(box, twin))
    if not boxes:
        raise _apart("neither of them finds anything at all in the sample pictures")
    if confidence > TOLERANCE_CONFIDENCE or pixels > TOLERANCE_PIXELS:
        raise _apart(f"confidences differ by up to {confidence:.5f}, boxes by up to {pixels:.3f} pixels")
    return Comparison(len(pictures), boxes, confidence, pixels, TOLERANCE_CONFIDENCE, TOLERANCE_PIXELS)


def _telling(
    finder: Finder, pictures: Sequence[Image.Image], imgsz: int, iou: float
) -> tuple[float, Sequence[Sequence[Box]]]:
    """Return enough boxes to compare, and how confident they have to be: a network of little training is never sure."""
    conf, found = CONFIDENCES[0], finder.find(pictures, CONFIDENCES[0], iou, imgsz)
    for conf in CONFIDENCES[1:]:
        if sum(map(len, found)) >= ENOUGH * len(pictures):
            break
        found = finder.find(pictures, conf, iou, imgsz)
    return conf, found


def _twin(box: Box, others: Sequence[Box]) -> Box | None:
    """Return the box of the same class that is nearest, in place and in confidence: several may cover a picture."""

    def apart(other: Box) -> float:
        return _distance(box, other) + abs(box.confidence - other.confidence)

    return min((other for other in others if other.label == box.label), key=apart, default=None)


def _distance(one: Box, other: Box) -> float:
    return max(abs(here - there) for here, there in zip(one.box, other.box, strict=True))


def _apart(what: str) -> TaskFailed:
    return TaskFailed(
        f"the converted network does not answer as the original one: {what}; it is not kept",
        error_class="ConversionDiffers",
    )
