"""Between the network's 16x16 pixels and pictures that people look at."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glowplug.errors import InvalidInput
from glowplug.workloads.digits.sampler import SIDE, Pixels
from glowplug.workloads.eight_bits import eight_bits

INK = (28, 32, 66)
PAPER = (250, 247, 240)
Gray = NDArray[np.floating[Any]]
"""Brightness, or a share of ink, per pixel in 0..1."""
MARGIN = 2
STEEPNESS = 12.0
INK_LEVEL = 0.15
"""Where the edge of a stroke lies between paper (-1) and ink (1)."""
READ_SIDE = 8
LARGEST_READ = 512
FAINTEST = 0.12


def drawn(digits: Pixels, scale: int) -> Image.Image:
    """Return one picture of `digits` (n, 1, 16, 16) side by side, each pixel `scale` wide.

    The enlargement follows the edges of the strokes, so that they are smooth at any size; it adds nothing else.
    """
    row = np.concatenate([digit[0] for digit in digits], axis=1)
    row = np.pad(row, MARGIN, constant_values=-1).astype(np.float32)
    size = (row.shape[1] * scale, row.shape[0] * scale)
    large = np.asarray(Image.fromarray(row).resize(size, Image.Resampling.BICUBIC))
    ink = 1 / (1 + np.exp(-STEEPNESS * (large - INK_LEVEL)))
    return Image.fromarray(_coloured(ink))


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Return one picture of all, which are of equal size, in rows."""
    width, height = pictures[0].size
    columns = _columns(len(pictures), height / width)
    rows = math.ceil(len(pictures) / columns)
    board = Image.new("RGB", (columns * width, rows * height), PAPER)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        board.paste(picture, (column * width, row * height))
    return board


def _columns(count: int, aspect: float) -> int:
    """Return the columns that leave the fewest gaps, from a square board to one twice as wide."""
    square = max(1, math.ceil(math.sqrt(count * aspect)))
    return min(range(square, min(2 * square, count) + 1), key=lambda columns: -count % columns, default=1)


def png(picture: Image.Image) -> bytes:
    """Return the picture as a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def read(picture: Image.Image) -> Pixels:
    """Return what the classifier is asked about (1, 1, 16, 16): the ink cut out, as tall or wide as the frame.

    Paper is whatever colour the border has, so light ink on dark paper is fine too. The way is that of the training
    data: averaged down to 8x8, then enlarged.

    Raises:
        InvalidInput: the picture cannot be decoded, or nothing is written on it.
    """
    ink = _ink(_gray(picture))
    rows, columns = np.nonzero(ink.max(axis=1) > 0.4)[0], np.nonzero(ink.max(axis=0) > 0.4)[0]
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longest = max(cut.shape)
    frame = np.zeros((longest, longest), np.float32)
    top, left = (longest - cut.shape[0]) // 2, (longest - cut.shape[1]) // 2
    frame[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    small = Image.fromarray(frame).resize((READ_SIDE, READ_SIDE), Image.Resampling.BOX)
    large = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixels: Pixels = (np.clip(large, 0, 1) * 2 - 1)[None, None].astype(np.float32)
    return pixels


def _gray(picture: Image.Image) -> Gray:
    try:
        picture = eight_bits(picture, "image").convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput(f"the image is broken: {error}", fields=["image"]) from error
    picture.thumbnail((LARGEST_READ, LARGEST_READ), Image.Resampling.BOX)
    paper = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(paper, picture).convert("L"), dtype=np.float32) / 255


def _ink(gray: Gray) -> Gray:
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    away = np.abs(gray - np.median(border))
    if away.max() < FAINTEST:
        told = "nothing is written on the image; send one digit, dark on light or light on dark"
        raise InvalidInput(told, fields=["image"])
    ink: Gray = np.clip(away / np.quantile(away, 0.995).clip(FAINTEST, 1), 0, 1)
    return ink


def _coloured(ink: Gray) -> NDArray[np.uint8]:
    share = ink[..., None]
    mixed = np.asarray(PAPER, np.float32) * (1 - share) + np.asarray(INK, np.float32) * share
    return np.rint(mixed).astype(np.uint8)
