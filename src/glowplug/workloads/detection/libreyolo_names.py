"""The names of networks: which of libreyolo's YOLOv9 a caller means by `small`, `yolov8n` and the like."""

from __future__ import annotations

import re

from glowplug.errors import InvalidInput

ENGINE = "libreyolo"
FAMILY = "yolo9"
SIZES = {"n": "t", "t": "t", "s": "s", "m": "m", "l": "c", "x": "c", "c": "c"}
USUAL = {"small": "t", "tiny": "t", "medium": "s", "large": "c"}
_MODEL = re.compile(r"(?:(?P<family>[a-z]+(?:v?\d+)?)-?)?(?P<size>[ntsmlxc])(?:\.pt|\.yaml)?")


def chosen(model: str) -> tuple[str, list[str]]:
    """Return the size of the network that a model's name stands for, and what is to be said of that.

    Raises:
        InvalidInput: nothing here is like the name.
    """
    wanted = model.lower()
    if wanted in USUAL:
        return USUAL[wanted], []
    match = _MODEL.fullmatch(wanted)
    if match is None or (match["family"] or "").rstrip("0123456789v") not in ("", "yolo"):
        known = ", ".join([*USUAL, *(f"{FAMILY}-{size}" for size in "tsmc")])
        raise InvalidInput(f"hyperparams.model: {model!r} is not known; known are {known}", fields=["hyperparams"])
    size = SIZES[match["size"]]
    own = match["family"] in (None, FAMILY, "yolov9") and match["size"] == size
    note = f"{model} was asked for; {ENGINE} trained {FAMILY}-{size} from nothing, the nearest that it has"
    return size, [] if own else [note]
