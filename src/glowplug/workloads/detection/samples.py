"""A data set that is drawn on the spot: circles, squares and triangles on plain and noisy ground, in YOLO's format.

`python -m glowplug.workloads.detection.samples FOLDER` writes one; the same seed draws the same pictures.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw

NAMES = ("circle", "square", "triangle")
LARGEST_OVERLAP = 0.2
TRIES = 20

Corners = tuple[float, float, float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to draw: how many pictures of each split, their side in pixels, and how many shapes at most in each."""

    pictures: Mapping[str, int] = field(default_factory=lambda: {"train": 400, "val": 80, "test": 120})
    side: int = 160
    most_shapes: int = 4
    seed: int = 0


def write(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write the data set below `folder`, with a data.yaml; returns the folder."""
    recipe = recipe or Recipe()
    for split, count in recipe.pictures.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            dice = random.Random(f"{recipe.seed}/{split}/{number}")  # noqa: S311 - pictures, no secrets
            picture, lines = drawn(dice, recipe.side, recipe.most_shapes)
            picture.save(images / f"{number:04}.png")
            (labels / f"{number:04}.txt").write_text("".join(f"{line}\n" for line in lines))
    splits = "".join(f"{split}: images/{split}\n" for split in recipe.pictures)
    (folder / "data.yaml").write_text(f"{splits}names: {json.dumps(NAMES)}\n")
    return folder


def drawn(dice: random.Random, side: int, most_shapes: int) -> tuple[Image.Image, list[str]]:
    """Return a picture with one to `most_shapes` shapes, hardly overlapping, and its label lines."""
    ground = _colour(dice)
    picture = Image.new("RGB", (side, side), ground)
    pen, placed, lines = ImageDraw.Draw(picture), list[Corners](), list[str]()
    for _ in range(side):
        left, top = dice.randrange(side), dice.randrange(side)
        pen.line((left, top, left + dice.randrange(8), top + dice.randrange(8)), fill=_near(dice, ground, 40))
    for _ in range(dice.randint(1, most_shapes)):
        corners = _free_place(dice, side, placed)
        if corners is None:
            break
        kind = dice.randrange(len(NAMES))
        _draw(pen, kind, corners, _unlike(dice, ground))
        placed.append(corners)
        lines.append(_line(kind, corners, side))
    return picture, lines


def _draw(pen: ImageDraw.ImageDraw, kind: int, corners: Corners, colour: Colour) -> None:
    left, top, right, bottom = corners
    if NAMES[kind] == "circle":
        pen.ellipse(corners, fill=colour)
    elif NAMES[kind] == "square":
        pen.rectangle(corners, fill=colour)
    else:
        pen.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=colour)


def _line(kind: int, corners: Corners, side: int) -> str:
    left, top, right, bottom = (value / side for value in corners)
    numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return " ".join([str(kind), *(f"{number:.6f}" for number in numbers)])


def _free_place(dice: random.Random, side: int, placed: list[Corners]) -> Corners | None:
    for _ in range(TRIES):
        size = dice.randint(side // 8, side // 3)
        left, top = dice.randint(0, side - size - 1), dice.randint(0, side - size - 1)
        corners = (float(left), float(top), float(left + size), float(top + size))
        if all(_overlap(corners, other) <= LARGEST_OVERLAP for other in placed):
            return corners
    return None


def _overlap(one: Corners, other: Corners) -> float:
    """Return the common area as a share of the smaller."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(wide, 0) * max(high, 0) / smaller


def _colour(dice: random.Random) -> Colour:
    return (dice.randrange(256), dice.randrange(256), dice.randrange(256))


def _near(dice: random.Random, colour: Colour, most: int) -> Colour:
    red, green, blue = (min(max(value + dice.randint(-most, most), 0), 255) for value in colour)
    return (red, green, blue)


def _unlike(dice: random.Random, ground: Colour) -> Colour:
    """Return a colour that stands out from `ground`."""
    while True:
        colour = _colour(dice)
        if sum(abs(one - other) for one, other in zip(colour, ground, strict=True)) > 150:
            return colour


def main() -> None:
    """Write the data set into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Draw circles, squares and triangles with labels in YOLO's format.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=160, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    for split, count in Recipe().pictures.items():
        parser.add_argument(f"--{split}", type=int, default=count, help=f"pictures to {split}")
    asked = parser.parse_args()
    pictures = {split: getattr(asked, split) for split in Recipe().pictures}
    print(write(asked.folder, Recipe(pictures, asked.side, seed=asked.seed)))


if __name__ == "__main__":
    main()
