"""The drawing task: noise to digits, step by step, then PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from glowplug.model import RunContext
from glowplug.workloads.digits.picture import drawn, png, sheet
from glowplug.workloads.digits.sampler import Denoise, Pixels, noise_of, sample
from glowplug.workloads.digits.values import Drawing, Sampling

PREVIEW_SCALE = 4
PREVIEW_PICTURES = 16
SHEET_PIXELS = 1600
"""The widest that the sheet of all pictures gets."""
DIGITS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What to draw: `count` pictures of the digits in `label`."""

    prompt: str
    label: str
    count: int
    seed: int
    scale: int
    sampling: Sampling


def draw(ctx: RunContext, denoise: Denoise, order: Order) -> Drawing:
    """Draw and save the pictures; progress counts steps, with a preview."""
    pictures = list(_pictures(ctx, denoise, order))
    images = [drawn(picture, order.scale) for picture in pictures]
    saved = [
        ctx.save(f"digits-{order.label}-{number:02}.png", png(image)) for number, image in enumerate(images, start=1)
    ]
    board = ctx.save("sheet.png", png(_sheet(images))).uri if len(images) > 1 else None
    return Drawing([artifact.uri for artifact in saved], board, order.seed, order.prompt, order.label)


def _sheet(images: list[Image.Image]) -> Image.Image:
    board = sheet(images)
    board.thumbnail((SHEET_PIXELS, SHEET_PIXELS))
    return board


def _pictures(ctx: RunContext, denoise: Denoise, order: Order) -> Iterator[Pixels]:
    """Yield the digits of each picture; some pictures at once, as many as make a good batch."""
    size, steps = len(order.label), order.sampling.steps
    at_once = max(1, DIGITS_AT_ONCE // size)
    rounds = -(-order.count // at_once)
    for turn in range(rounds):
        numbers = range(turn * at_once, min(order.count, (turn + 1) * at_once))
        labels = np.array([int(digit) for digit in order.label] * len(numbers), np.int64)
        noise = np.concatenate([noise_of(order.seed, number, size) for number in numbers])
        ctx.check()
        for step, digits in enumerate(sample(denoise, labels, noise, order.sampling), start=1):
            note = f"step {step} of {steps}" + (f", part {turn + 1} of {rounds}" if rounds > 1 else "")
            ctx.progress(turn * steps + step, rounds * steps, note, preview=_preview(digits, size))
            ctx.check()
        yield from np.split(digits, len(numbers))


def _preview(digits: Pixels, size: int) -> bytes:
    shown = np.split(digits, len(digits) // size)[:PREVIEW_PICTURES]
    return png(sheet([drawn(picture, PREVIEW_SCALE) for picture in shown]))
