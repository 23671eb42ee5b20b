"""Boxes drawn into pictures."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from glowplug.workloads.detection.engine import Box

GOLDEN = 0.618034
QUALITY = 90
LARGEST_FONT, LONGEST_LABEL = 200, 40
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Colour = tuple[int, int, int]


def drawn(picture: Image.Image, boxes: Sequence[Box], names: Sequence[str]) -> Image.Image:
    """Return a copy of the picture with the boxes in it, each in the colour of its class, the most confident on top."""
    shown = picture.convert("RGB")
    pen = ImageDraw.Draw(shown)
    unit = max(shown.size) / 400
    font = ImageFont.load_default(min(max(10, round(9 * unit)), LARGEST_FONT))
    numbers = {name: number for number, name in enumerate(names)}
    for box in reversed(boxes):
        colour = colour_of(numbers.get(box.label, 0))
        pen.rectangle(box.box, outline=colour, width=max(1, round(1.5 * unit)))
        _label(pen, box, colour, font)
    return shown


def as_jpeg(picture: Image.Image) -> bytes:
    """Return the picture as a JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def colour_of(number: int) -> Colour:
    """Return the colour of a class: far from that of the classes next to it, and always the same."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _label(
    pen: ImageDraw.ImageDraw, box: Box, colour: Colour, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> None:
    text = f"{box.label[:LONGEST_LABEL]} {box.confidence:.2f}"
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left, bottom - top
    # Above the box where there is room, else inside of it.
    x, y = box.box[0], box.box[1] - height - 2 if box.box[1] > height + 2 else box.box[1]
    pen.rectangle((x, y, x + width + 2, y + height + 2), fill=colour)
    bright = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), colour, strict=True)) > 140
    pen.text((x + 1 - left, y + 1 - top), text, fill=BLACK if bright else WHITE, font=font)
