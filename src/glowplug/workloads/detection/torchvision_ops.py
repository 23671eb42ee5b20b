"""torchvision's one operator that detectors need, in plain NumPy, where its compiled ones do not load.

A torchvision wheel that was built against another build of torch (on some machines the CPU build that a package index
gives) installs, but its library does not load: importing it then dies with `operator torchvision::nms does not exist`.
Where the library loads, nothing here is used.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glowplug.errors import MissingExtra

Boxes = NDArray[np.float32]


@cache
def ensure() -> bool:
    """Make torchvision importable; call it before the first import. Says whether the stand-in was needed.

    Raises:
        MissingExtra: torchvision is not installed.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise MissingExtra.of("detection", "the detector model")
    if _compiled_load(Path(found.origin).parent):
        return False
    _keep_alive.append(_defined())
    import torchvision.ops.boxes as boxes

    # It asks whether the compiled library was loaded; what it wants to know is whether the operator is there.
    boxes._assert_has_ops = lambda: None  # noqa: SLF001
    return True


def suppressed(boxes: Boxes, scores: Boxes, threshold: float) -> NDArray[np.int64]:
    """Return the indices of boxes (n, 4) that stay, best score first: greedy non-maximum suppression."""
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        high = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        common = np.maximum(wide, 0) * np.maximum(high, 0)
        # Written without a division: two boxes without an area have nothing in common.
        order = order[common <= threshold * (areas[best] + areas[order] - common)]
    return np.asarray(kept, dtype=np.int64)


_keep_alive: list[Any] = []


def _compiled_load(folder: Path) -> bool:
    libraries = sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def _defined() -> Any:
    library = torch.library.Library("torchvision", "DEF")
    # Importing torchvision describes both to the compiler; nobody calls the quantized one.
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    library.impl("nms", _nms, "CUDA")
    return library


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    kept = suppressed(boxes.detach().float().cpu().numpy(), scores.detach().float().cpu().numpy(), threshold)
    return torch.from_numpy(kept).to(boxes.device)
