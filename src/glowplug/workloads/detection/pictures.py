"""Whether a file is a picture that can be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
from PIL import Image

from glowplug.workloads.detection.report import Severity

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself; others start foreign programs."""
LARGEST_PIXELS = 80_000_000
SMALLEST_SIDE = 8
LARGEST_RATIO = 32
"""Of the sides: made as small as the smallest `imgsz`, a picture must still be one."""
TURNED = "training does not follow, but with engine=ultralytics it does; store it upright"
NARROW = f"one side may be {LARGEST_RATIO} times the other"
ORIENTATION, UPRIGHT = 0x0112, 1

Wrong = tuple[Severity, str, str]


def wrong_with(path: Path) -> Iterator[Wrong]:
    """Yield what is wrong or odd with the picture in a file; it is decoded to its end for that."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > LARGEST_PIXELS:
                yield "error", "huge picture", f"{width} x {height} pixels, more than {LARGEST_PIXELS}"
                return
            if min(width, height) < SMALLEST_SIDE:
                yield "error", "tiny picture", f"{width} x {height} pixels; {SMALLEST_SIDE} on a side are the least"
            if max(width, height) > LARGEST_RATIO * min(width, height):
                yield (
                    "error",
                    "narrow picture",
                    f"{width} x {height} pixels; {NARROW}",
                )
            if picture.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                yield "warning", "turned picture", f"is turned by its EXIF data, which {TURNED}"
            # A JPEG is still read to its end, but decoded at an eighth of its size, several times as fast.
            picture.draft("RGB", (width // 8, height // 8))
            picture.load()
            # OpenCV, with which engines read, knows fewer kinds of TIFF than Pillow.
            if picture.format == "TIFF" and cv2.imread(str(path)) is None:
                yield "error", "unusual picture", "a TIFF of a kind that training cannot read; save it as PNG"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        yield "error", "huge picture", f"more than {LARGEST_PIXELS} pixels"
    except Exception as error:  # noqa: BLE001 - whatever a decoder stumbles over, it lies in the picture
        unknown = type(error).__name__ == "UnidentifiedImageError"
        yield "error", "broken picture", f"not an image of {', '.join(FORMATS)}" if unknown else f"broken: {error}"
