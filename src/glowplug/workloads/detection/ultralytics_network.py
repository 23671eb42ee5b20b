"""Networks as Ultralytics builds them from their names, with tensors of ours in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glowplug.errors import InvalidInput
from glowplug.workloads.detection.ultralytics_library import DEFAULT_CFG_DICT, YOLO, DetectionModel
from glowplug.workloads.detection.ultralytics_names import Network
from glowplug.workloads.detection.weights import Weights


def built(network: Network, names: Sequence[str], imgsz: int) -> Any:
    """Return a network that knows nothing yet. Raises `ValueError` for one that Ultralytics has not."""
    model = DetectionModel(network.file, nc=len(names), verbose=False)
    model.task = "detect"
    model.names = dict(enumerate(names))
    model.args = {**DEFAULT_CFG_DICT, "model": network.file, "task": "detect", "imgsz": imgsz}
    return model


def detector(weights: Weights) -> Any:
    """Return Ultralytics' detector with these weights. Raises `InvalidInput` where they are not its."""
    network = Network(weights.family, weights.size)
    try:
        model = built(network, weights.names, weights.imgsz)
        model.load_state_dict(weights.state)
    except ValueError as error:
        raise InvalidInput(f"model_path: {error}", fields=["model_path"]) from error
    except RuntimeError as error:
        raise InvalidInput(f"model_path: not the tensors of {network.name}", fields=["model_path"]) from error
    found = YOLO(network.file)
    found.model = model.eval()
    return found
