"""Trains a detector, converts it and looks with it: small, but real, and as the door for messages wants its tasks.

Pictures of 32 x 32 grey dots have a bright square in some of their sixteen cells. A cell is judged by its own 64 dots.
Training is gradient descent with a checkpoint at each epoch; the converted model is ONNX and gives the same answers.
"""

import hashlib
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glowplug import File, Image, Model, RunContext, task
from glowplug.errors import InvalidInput
from glowplug.model import Folder

SIDE, CELL, LABEL = 32, 8, "square"
CELLS = (SIDE // CELL) ** 2
Array = NDArray[np.float32]


@dataclass
class Dataset:
    s3_prefix: Folder
    name: str


@dataclass
class Output:
    prefix: str
    model_name: str = "model"


@dataclass
class Hyperparams:
    model: str = "small"
    epochs: int = 100
    batch: int = 16
    imgsz: int = 640
    learning_rate: float = 0.5
    epoch_seconds: float = 0.0
    fail_at: int = 0


@dataclass
class Params:
    conf: float = 0.25
    imgsz: int = 640


class Detector(Model):
    @task
    def train(self, ctx: RunContext, dataset: Dataset, output: Output, hyperparams: Hyperparams) -> dict[str, Any]:
        """Train on the pictures that the name of a dataset stands for; its folder must be there all the same."""
        began = time.monotonic()
        if not any(dataset.s3_prefix.rglob("*.yaml")):
            raise InvalidInput("the data set has no yaml file")
        ctx.progress(0, hyperparams.epochs, f"reading {dataset.name}")
        cells, targets = samples(dataset.name, 64)
        unseen, truth = samples(dataset.name + "/val", 32)
        resumed = ctx.resume()
        weights = np.load(resumed.path) if resumed else np.zeros(CELL * CELL + 1, np.float32)
        for epoch in range((resumed.step if resumed else 0) + 1, hyperparams.epochs + 1):
            ctx.check()
            time.sleep(hyperparams.epoch_seconds)
            if epoch == hyperparams.fail_at:
                raise InvalidInput("CUDA out of memory")
            weights, loss = descended(weights, cells, targets, hyperparams)
            scores = probabilities(weights, unseen)
            ctx.metrics(
                epoch=epoch,
                total_epochs=hyperparams.epochs,
                train_loss=loss,
                mAP50=average_precision(scores, truth),
                box_loss=0.0,
                cls_loss=cross_entropy(scores, truth),
            )
            ctx.checkpoint(epoch, lambda path, w=weights: path.write_bytes(as_bytes(w)) and None)
        model = ctx.save(output.model_name, as_bytes(weights))
        return {"model_path": model, "training_time": time.monotonic() - began}

    @task
    def convert(self, ctx: RunContext, model_path: File, format: str, output: Output) -> dict[str, Any]:  # noqa: A002
        """Write a trained model as ONNX."""
        if format != "onnx":
            raise InvalidInput(f"this detector becomes onnx, not {format!r}")
        ctx.progress(1, 2, "writing the graph")
        return {"model_path": ctx.save(output.model_name, as_onnx(np.load(model_path)))}

    @task
    def infer(
        self, ctx: RunContext, model_path: File, images: list[Image], output: Output, params: Params
    ) -> dict[str, Any]:
        """Look for squares in pictures, with a trained model or a converted one."""
        judge = opened(model_path)
        results = []
        for number, image in enumerate(images):
            ctx.progress(number, len(images), f"image {number + 1}")
            scores = judge(cells_of(np.asarray(image.convert("L"), np.float32) / 255))
            found = [
                {"label": LABEL, "confidence": round(float(score), 4), "box": box(cell)}
                for cell, score in enumerate(scores)
                if score >= params.conf
            ]
            seen = ctx.save(f"{number}.txt", "\n".join(str(one["box"]) for one in found).encode())
            results.append({"detections": found, "output": seen})
        return {"results": results}


def picture(squares: set[int], seed: int = 0) -> Array:
    """Return a picture with a bright square in some of its cells."""
    dots = np.random.default_rng(seed).uniform(0, 0.4, (SIDE, SIDE)).astype(np.float32)
    for cell in squares:
        left, top, right, bottom = box(cell)
        dots[top:bottom, left:right] += 0.5
    return dots


def box(cell: int) -> list[int]:
    """Return where a cell is: left, top, right, bottom."""
    top, left = divmod(cell, SIDE // CELL)
    return [left * CELL, top * CELL, (left + 1) * CELL, (top + 1) * CELL]


def samples(name: str, pictures: int) -> tuple[Array, Array]:
    """Return the cells of some pictures and whether there is a square in each; the same for the same name."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    cells, targets = [], []
    for number in range(pictures):
        squares = dice.random(CELLS) < 0.3
        cells.append(cells_of(picture(set(np.flatnonzero(squares).tolist()), int(dice.integers(1 << 31)) + number)))
        targets.append(squares)
    return np.concatenate(cells), np.concatenate(targets).astype(np.float32)


def cells_of(dots: Array) -> Array:
    rows = dots.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).swapaxes(1, 2)
    return rows.reshape(CELLS, CELL * CELL).astype(np.float32)


def probabilities(weights: Array, cells: Array) -> Array:
    scores: Array = 1 / (1 + np.exp(-(cells @ weights[:-1] + weights[-1])))
    return scores


def descended(weights: Array, cells: Array, targets: Array, how: Hyperparams) -> tuple[Array, float]:
    """Return the weights after one epoch, and the loss before it."""
    loss = cross_entropy(probabilities(weights, cells), targets)
    for start in range(0, len(cells), how.batch):
        some, wanted = cells[start : start + how.batch], targets[start : start + how.batch]
        wrong = probabilities(weights, some) - wanted
        slope = np.append(some.T @ wrong, wrong.sum()) / len(some)
        weights = (weights - how.learning_rate * slope).astype(np.float32)
    return weights, loss


def cross_entropy(scores: Array, targets: Array) -> float:
    kept = np.clip(scores, 1e-6, 1 - 1e-6)
    return float(-(targets * np.log(kept) + (1 - targets) * np.log(1 - kept)).mean())


def average_precision(scores: Array, targets: Array) -> float:
    """Return the mean of the precision at each square found, best score first."""
    hits = targets[np.argsort(-scores, kind="stable")] > 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def as_bytes(weights: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, weights)
    return stream.getvalue()


def as_onnx(weights: Array) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    cells = helper.make_tensor_value_info("cells", TensorProto.FLOAT, [None, CELL * CELL])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None])
    nodes = [
        helper.make_node("MatMul", ["cells", "slope"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
    ]
    held = [numpy_helper.from_array(weights[:-1], "slope"), numpy_helper.from_array(weights[-1:], "bias")]
    graph = helper.make_graph(nodes, "detector", [cells], [scores], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    written: bytes = made.SerializeToString()
    return written


def opened(path: Path) -> Any:
    """Return what judges cells with the model in a file."""
    if path.read_bytes()[:6] == b"\x93NUMPY":
        weights = np.load(path)
        return lambda cells: probabilities(weights, cells)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda cells: session.run(None, {"cells": cells})[0]
