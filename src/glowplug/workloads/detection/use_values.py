"""What the tasks that use a detector take and answer, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Le, MaxLen

from glowplug.model import FileParameter
from glowplug.workloads.detection.values import FORBID

MOST_IMAGES = 10_000
ONNX_NAME = "best.onnx"


@dataclass(frozen=True, slots=True)
class PictureParameter(FileParameter):
    """A picture of which the task gets the file: thousands of them, decoded at once, would fill the memory."""

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Describe it as what it is for the caller: a picture."""
        del schema, handler
        return {"type": "string", "format": "artifact", "contentMediaType": "image/*"}


if TYPE_CHECKING:
    PictureFile = Path
else:
    PictureFile = Annotated[Path, PictureParameter()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the caller would like the drawn pictures."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    prefix: Annotated[str, MaxLen(1024)] = ""


@dataclass(frozen=True, slots=True)
class OnnxOutput:
    """Where the caller would like the converted network, and its file name."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    prefix: Annotated[str, MaxLen(1024)] = ""
    model_name: Annotated[str, MaxLen(256)] = ONNX_NAME


@dataclass(frozen=True, slots=True)
class Params:
    """How to look: boxes of less than `conf` are left out, and of two that overlap by more than `iou` the weaker one.

    `imgsz` is the side at which pictures are looked at, by default that of the training; `batch` are looked at
    together. With `draw`, each picture comes back with its boxes drawn in.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    conf: Annotated[float, Ge(0), Le(1)] = 0.25
    iou: Annotated[float, Ge(0), Le(1)] = 0.45
    imgsz: Annotated[int, Ge(32), Le(4096)] | None = None
    batch: Annotated[int, Ge(1), Le(256)] = 16
    draw: bool = True


@dataclass(frozen=True, slots=True)
class Detection:
    """A thing found; `box` is left, top, right, bottom in pixels of the picture as one sees it, turned upright."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Looked:
    """What is in one picture, most confident first, and the picture with the boxes drawn in."""

    detections: list[Detection]
    output: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """What is in the pictures, in their order; `imgsz` is the size at which they were looked at."""

    results: list[Looked]
    names: list[str]
    imgsz: int
    runtime: str
    inference_time: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the converted network is from the original one, over `boxes` boxes in `images` pictures."""

    images: int
    boxes: int
    max_confidence_difference: float
    max_box_difference_pixels: float
    tolerance_confidence: float
    tolerance_pixels: float


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted detector, compared with the original one; `sha256` is the hex digest of the file."""

    model_path: str
    format: str
    sha256: str
    size_bytes: int
    imgsz: int
    names: list[str]
    comparison: Comparison
    conversion_time: float
