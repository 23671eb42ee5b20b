"""Small data sets in YOLO's format, written as a test wants them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

NAMES = 'names: ["circle", "square"]\n'
BOX = "0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n"


def picture(path: Path, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "teal").save(path)
    return path


def write(root: Path, labels: Mapping[str, str | None] | None = None, yaml: str | None = NAMES) -> Path:
    """Write a picture for each `split/stem`, with its label file unless that is None, and the data.yaml."""
    for place, text in (labels or {"train/a": BOX, "train/b": BOX, "val/c": BOX}).items():
        picture(root / "images" / f"{place}.png")
        if text is not None:
            label = root / "labels" / f"{place}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


def zipped(root: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, Path(top) / path.relative_to(root))
    return target
