"""torchvision beside a torch that its compiled operators do not fit: without them, importing it fails.

transformers, diffusers and detectors import torchvision wherever it is installed, so one stray wheel would take every
one of them down. Non-maximum suppression, the only operator that is needed here, is then written in plain torch.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import torch

_kept: list[Any] = []
"""The library object: its definitions go when it does."""


def ensure_torchvision() -> bool:
    """Make `import torchvision` work if it is installed; returns whether a stand-in was needed. Call it first."""
    if find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    _define()
    boxes = importlib.import_module("torchvision.ops.boxes")
    boxes._assert_has_ops = lambda: None  # type: ignore[attr-defined]  # noqa: SLF001 - it looks for the compiled file
    return True


def _define() -> None:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", suppressed, "CPU")
    library.impl("nms", suppressed, "CUDA")
    _kept.append(library)


def suppressed(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of the boxes (n, 4: corners) that no better one covers by more than `iou_threshold`."""
    order = torch.argsort(scores, descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= iou_threshold]
    return torch.stack(kept) if kept else order
