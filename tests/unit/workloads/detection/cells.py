"""A detector in ONNX that is written down, not trained: it finds bright and dark cells of 8 x 8 dots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

CELL = 8
NAMES = ("bright", "dark")
FAMILY = {"model_family": "yolo9", "task": "detect", "letterbox_pad": "topleft"}
ULTRALYTICS = {"author": "Ultralytics", "task": "detect"}


def network(side: int = 64, *, metadata: dict[str, str] | None = None, batch: int | str = "batch") -> ModelProto:
    """Return the network for pictures of `side` dots, with boxes as its metadata say that they are."""
    said = {
        "names": json.dumps(dict(enumerate(NAMES))),
        "imgsz": str(side),
        **(FAMILY if metadata is None else metadata),
    }
    cells = side // CELL
    boxes = at(cells, centres=said.get("author") == "Ultralytics")
    held = {
        "boxes": boxes[np.newaxis],
        "shape": np.array([0, 1, cells * cells], np.int64),
        "steep": np.array([20.0, -20.0], np.float32).reshape(1, 2, 1),
        "shift": np.array([-14.0, 4.0], np.float32).reshape(1, 2, 1),
        "nothing": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("ReduceMean", ["pooled"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["grey", "shape"], ["flat"]),
        helper.make_node("Mul", ["flat", "steep"], ["steeper"]),
        helper.make_node("Add", ["steeper", "shift"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Mul", ["flat", "nothing"], ["none"]),
        helper.make_node("Add", ["none", "boxes"], ["places"]),
        helper.make_node("Concat", ["places", "scores"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 4 + len(NAMES), cells * cells])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(made, said)
    return made


def at(cells: int, *, centres: bool) -> Any:
    """Return the box of each cell, as corners or as centres and sizes."""
    places = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="xy")).reshape(2, -1) * CELL
    second = np.full_like(places, CELL) if centres else places + CELL
    first = places + CELL / 2 if centres else places
    return np.concatenate([first, second]).astype(np.float32)


def written(path: Path, **how: Any) -> Path:
    """Write the network; returns the path."""
    path.write_bytes(network(**how).SerializeToString())
    return path


def picture(path: Path, *cells: tuple[int, int], size: tuple[int, int] = (64, 64), scale: int = 1) -> Path:
    """Write a grey picture with bright cells at these columns and rows, each of `scale` times 8 dots."""
    image = Image.new("RGB", size, (120, 120, 120))
    for column, row in cells:
        side = CELL * scale
        image.paste((255, 255, 255), (column * side, row * side, (column + 1) * side, (row + 1) * side))
    image.save(path)
    return path
