"""The networks of Ultralytics that are trained here, by the names that a caller may give."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glowplug.errors import InvalidInput

ENGINE = "ultralytics"
LICENCE = "AGPL-3.0-only"
USUAL = {"tiny": "yolov8n", "small": "yolov8n", "medium": "yolov8s", "large": "yolov8l"}
SIZES = {
    "yolov8": "nsmlx",
    "yolov9": "tsmce",
    "yolov10": "nsmblx",
    "yolo11": "nsmlx",
    "yolo12": "nsmlx",
    "yolo26": "nsmlx",
}
_MODEL = re.compile(r"(?P<family>yolov?\d+)(?P<size>[a-z])(?:\.pt|\.yaml)?")


@dataclass(frozen=True, slots=True)
class Network:
    """A network by its name in two parts, such as `yolov8` and `n`."""

    family: str
    size: str

    @property
    def name(self) -> str:
        """Return its whole name."""
        return f"{self.family}{self.size}"

    @property
    def file(self) -> str:
        """Return the description that Ultralytics builds it from. Raises `ValueError` for an unknown network.

        Such a description may say code that is run, so that none but its own are ever named.
        """
        if self.size not in tuple(SIZES.get(self.family, "")):
            raise ValueError(f"{self.name} is no network of {ENGINE}")
        return f"{self.name}.yaml"


def chosen(model: str) -> Network:
    """Return the network that a name stands for. Raises `InvalidInput`."""
    match = _MODEL.fullmatch(USUAL.get(model.lower(), model.lower()))
    if match is None or match["size"] not in SIZES.get(match["family"], ""):
        own = ", ".join(f"{family}{'|'.join(sizes)}" for family, sizes in SIZES.items())
        raise InvalidInput(
            f"hyperparams.model: {model[:80]!r} is not known; known are {', '.join(USUAL)}, {own}",
            fields=["hyperparams"],
        )
    return Network(match["family"], match["size"])
