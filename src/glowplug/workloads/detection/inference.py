"""The task that looks: pictures are opened a few at a time, looked at together, and come back with boxes drawn in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from glowplug.errors import InvalidInput
from glowplug.model import RunContext
from glowplug.workloads.detection import onnx_finder
from glowplug.workloads.detection.drawing import as_jpeg, drawn
from glowplug.workloads.detection.engine import Box, Engine, Finder, whole_size
from glowplug.workloads.detection.pictures import FORMATS, LARGEST_PIXELS
from glowplug.workloads.detection.use_values import MOST_IMAGES, Detection, Inferred, Looked, Params
from glowplug.workloads.eight_bits import FLOATING, NO_SCALE, eight_bits

DECIMALS = 2
LONGEST_SIDE = 65_500
"""Of a JPEG."""
MOST_PIXELS_AT_ONCE = 1 << 27
"""In the memory together, decoded, and as many again as the network sees them."""
WRONG_SHOWN = 5
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the task was called with, and where it runs."""

    model_path: Path
    images: Sequence[Path]
    params: Params
    device: str
    threads: int


def infer(ctx: RunContext, engine: Engine, wish: Wish) -> Inferred:
    """Look for things in pictures.

    Raises:
        InvalidInput: the model or a picture cannot be opened; it is named by its place in the list.
    """
    began, images, params = time.monotonic(), wish.images, wish.params
    if not 0 < len(images) <= MOST_IMAGES:
        raise _wrong("images", f"1 to {MOST_IMAGES} pictures are looked at in one job, not {len(images)}")
    sizes = _checked_heads(images)
    ctx.progress(0, len(images), "opening the model")
    finder = opened(wish.model_path, engine, wish.device, wish.threads)
    imgsz = finder.imgsz if finder.fixed else whole_size(params.imgsz or finder.imgsz)
    results: list[Looked] = []
    for numbers in groups(sizes, params.batch, imgsz**2):
        ctx.check()
        pictures = [picture(images[number], number) for number in numbers]
        found = finder.find(pictures, params.conf, params.iou, imgsz)
        for number, one, boxes in zip(numbers, pictures, found, strict=True):
            output = _drawn(ctx, number, images[number], drawn(one, boxes, finder.names)) if params.draw else None
            results.append(Looked(_detections(boxes), output, *one.size))
        ctx.progress(len(results), len(images), f"{len(results)} of {len(images)} pictures")
    runtime = "onnxruntime" if isinstance(finder, onnx_finder.OnnxFinder) else engine.name
    return Inferred(results, list(finder.names), imgsz, runtime, round(time.monotonic() - began, 3))


def opened(path: Path, engine: Engine, device: str, threads: int) -> Finder:
    """Open a detector: ONNX by ONNX Runtime, everything else by the engine. Raises `InvalidInput`."""
    if onnx_finder.is_onnx(path):
        return onnx_finder.opened(path, device, threads)
    return engine.open(path, device)


def picture(path: Path, number: int) -> Image.Image:
    """Return the picture in a file, upright and in colour. Raises `InvalidInput`, which names its place in the list."""
    try:
        with Image.open(path, formats=FORMATS) as found:
            return eight_bits(ImageOps.exif_transpose(found), f"images.{number}").convert("RGB")
    except InvalidInput:
        raise
    except Exception as error:
        # Whatever a decoder stumbles over, it lies in the picture.
        raise _wrong(f"images.{number}", f"{path.name[:80]}: the picture is broken: {error}") from error


def groups(sizes: Sequence[int], count: int, seen: int) -> Iterator[list[int]]:
    """Yield the numbers of pictures to look at together.

    They are `count` at most, and as many as there is room for: of `sizes` pixels, and `seen` as the network sees each.
    """
    group: list[int] = []
    pixels = 0
    for number, size in enumerate(sizes):
        pixels += max(size, seen)
        if group and (len(group) == count or pixels > MOST_PIXELS_AT_ONCE):
            yield group
            group, pixels = [], max(size, seen)
        group.append(number)
    yield group


def _checked_heads(images: Sequence[Path]) -> list[int]:
    """Look at the first bytes of all pictures before any work is put into one of them; returns their pixels."""
    sizes: list[int] = []
    wrong = list(_wrong_heads(images, sizes))
    if wrong:
        more = f"; and {len(wrong) - WRONG_SHOWN} more" if len(wrong) > WRONG_SHOWN else ""
        said = "; ".join(f"images.{number}: {what}" for number, what in wrong[:WRONG_SHOWN])
        raise InvalidInput(said + more, fields=[f"images.{number}" for number, _ in wrong[:WRONG_SHOWN]])
    return sizes


def _wrong_heads(images: Sequence[Path], sizes: list[int]) -> Iterator[tuple[int, str]]:
    for number, path in enumerate(images):
        try:
            with Image.open(path, formats=FORMATS) as found:
                pixels, side, mode = found.width * found.height, max(found.size), found.mode
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            pixels, side, mode = LARGEST_PIXELS + 1, 0, ""
        except Exception:  # noqa: BLE001 - see `picture`
            yield number, f"{path.name[:80]}: not a picture of {', '.join(FORMATS)}"
            continue
        if pixels > LARGEST_PIXELS:
            yield number, f"{path.name[:80]}: more than {LARGEST_PIXELS} pixels"
        if side > LONGEST_SIDE:
            yield number, f"{path.name[:80]}: more than {LONGEST_SIDE} pixels on a side"
        if mode == FLOATING:
            yield number, f"{path.name[:80]}: {NO_SCALE}"
        sizes.append(pixels)


def _drawn(ctx: RunContext, number: int, path: Path, shown: Image.Image) -> str:
    stem = _UNSAFE.sub("-", path.stem)[:64].strip("-.") or "picture"
    return ctx.save(f"{number + 1}-{stem}.jpg", as_jpeg(shown), "image/jpeg").uri


def _detections(boxes: Sequence[Box]) -> list[Detection]:
    return [Detection(box.label, round(box.confidence, 4), _rounded(box)) for box in boxes]


def _rounded(box: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(value, DECIMALS) for value in box.box)
    return left, top, right, bottom


def _wrong(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"{field}: {what}", fields=[field])
