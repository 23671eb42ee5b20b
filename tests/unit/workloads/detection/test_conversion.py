"""The task that converts: what it writes has to find the same as the original, or is not kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.unit.workloads.contexts import Remembering
from tests.unit.workloads.detection.cells import NAMES, network, picture, written

from glowplug.errors import Canceled, InvalidInput, TaskFailed
from glowplug.workloads.detection import onnx_finder
from glowplug.workloads.detection.conversion import Wish, compared, convert, sample_pictures
from glowplug.workloads.detection.engine import Box, Finder
from glowplug.workloads.detection.use_values import Converted

WEIGHTS = (8).to_bytes(8, "little") + b'{"a": 1}'


class Shifted:
    """A finder that is a little off."""

    def __init__(self, finder: Finder, *, confidence: float = 0.0, pixels: float = 0.0, lost: int = 0) -> None:
        self._finder = finder
        self._off = confidence, pixels
        self._lost = lost
        self.names, self.imgsz = finder.names, finder.imgsz

    def find(self, images: Sequence[Image.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        found = self._finder.find(images, conf, iou, imgsz)
        return [[self._moved(box) for box in one[self._lost :]] for one in found]

    def _moved(self, box: Box) -> Box:
        left, top, right, bottom = (value + self._off[1] for value in box.box)
        return Box(box.label, box.confidence + self._off[0], (left, top, right, bottom))


class CellEngine:
    """An engine whose networks find cells, and whose export may go wrong."""

    name, licence = "cells", "MIT"

    def __init__(self, folder: Path, export: Callable[[Path], object] | None = None) -> None:
        self._source = written(folder / "original.onnx")
        self._export = export or (lambda target: target.write_bytes(self._source.read_bytes()))
        self.sizes: list[int] = []

    def train(self, order: Any, watcher: Any) -> Any:
        raise AssertionError

    def open(self, weights: Path, device: str) -> Finder:
        return onnx_finder.opened(self._source, device, 1)

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        self.sizes.append(imgsz)
        self._export(target)


def converted(ctx: Remembering, engine: CellEngine, **wish: Any) -> Converted:
    weights = ctx.scratch / "weights"
    if not weights.exists():
        weights.write_bytes(WEIGHTS)
    usual = {"model_path": weights, "format": "onnx", "name": "cells.onnx", "imgsz": None, "images": (), "threads": 1}
    return convert(ctx, engine, Wish(**(usual | wish)))


def test_the_file_and_how_near_it_is_to_the_original_come_back(tmp_path: Path) -> None:
    ctx, engine = Remembering(tmp_path / "run"), CellEngine(tmp_path)
    made = converted(ctx, engine)
    data = ctx.file("cells.onnx").read_bytes()
    assert (made.model_path, made.format) == (ctx.saved[0].uri, "onnx")
    assert (made.sha256, made.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (made.names, made.imgsz, engine.sizes) == (list(NAMES), 64, [64])
    assert made.comparison.images == 5
    assert made.comparison.boxes >= 25
    assert (made.comparison.max_confidence_difference, made.comparison.max_box_difference_pixels) == (0.0, 0.0)
    assert [told.note for told in ctx.told] == [
        "opening the weights",
        "writing the network as ONNX",
        "comparing it with the original",
    ]


def test_pictures_of_ones_own_are_compared_in(tmp_path: Path) -> None:
    ctx = Remembering(tmp_path / "run")
    made = converted(ctx, CellEngine(tmp_path), images=[picture(tmp_path / "a.png", (1, 1))])
    assert made.comparison.images == 1
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(InvalidInput, match=r"images\.0: b\.png: the picture is broken"):
        converted(ctx, CellEngine(tmp_path), images=[tmp_path / "b.png"])


@pytest.mark.parametrize(("asked", "name"), [("best.onnx", "best.onnx"), ("best.pt", "best.pt.onnx"), ("m", "m.onnx")])
def test_the_name_says_what_it_is(tmp_path: Path, asked: str, name: str) -> None:
    ctx = Remembering(tmp_path / "run")
    converted(ctx, CellEngine(tmp_path), name=asked)
    assert [artifact.name for artifact in ctx.saved] == [name]


def test_a_network_that_answers_otherwise_is_not_kept(tmp_path: Path) -> None:
    other = network()
    for tensor in other.graph.initializer:
        if tensor.name == "shift":
            tensor.raw_data = b"\x00" * len(tensor.raw_data)
    ctx = Remembering(tmp_path / "run")
    with pytest.raises(TaskFailed, match=r"does not answer as the original one: .*; it is not kept") as caught:
        converted(ctx, CellEngine(tmp_path, lambda target: target.write_bytes(other.SerializeToString())))
    assert caught.value.data["error_class"] == "ConversionDiffers"
    assert ctx.saved == []


@pytest.mark.parametrize(
    ("off", "said"),
    [
        ({"confidence": 0.002}, "confidences differ by up to 0.002"),
        ({"pixels": 0.5}, "boxes by up to 0.500 pixels"),
        ({"lost": 1}, "differ by up to|does not find"),
    ],
)
def test_differences_that_somebody_could_see_are_told(tmp_path: Path, off: dict[str, Any], said: str) -> None:
    finder = onnx_finder.opened(written(tmp_path / "m.onnx"), threads=1)
    with pytest.raises(TaskFailed, match=said):
        compared(finder, Shifted(finder, **off), sample_pictures(), 64)


def test_differences_that_nobody_could_see_are_measured(tmp_path: Path) -> None:
    finder = onnx_finder.opened(written(tmp_path / "m.onnx"), threads=1)
    found = compared(finder, Shifted(finder, confidence=0.0005, pixels=0.05), sample_pictures(), 64)
    assert found.max_confidence_difference == pytest.approx(0.0005)
    assert found.max_box_difference_pixels == pytest.approx(0.05)
    assert (found.tolerance_confidence, found.tolerance_pixels) == (0.001, 0.1)


def test_other_classes_are_another_network(tmp_path: Path) -> None:
    finder = onnx_finder.opened(written(tmp_path / "m.onnx"), threads=1)
    other = Shifted(finder)
    other.names = ["dark", "bright"]
    with pytest.raises(TaskFailed, match="its classes are dark, bright"):
        compared(finder, other, sample_pictures(), 64)


def test_another_format_and_what_is_onnx_already_are_refused(tmp_path: Path) -> None:
    ctx, engine = Remembering(tmp_path / "run"), CellEngine(tmp_path)
    with pytest.raises(InvalidInput, match="format: 'tflite' is not known; known is onnx"):
        converted(ctx, engine, format="tflite")
    with pytest.raises(InvalidInput, match="model_path: not weights that"):
        converted(ctx, engine, model_path=written(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput, match=r"output\.model_name: not a file name"):
        converted(ctx, engine, name="../x")


def test_a_size_becomes_one_that_networks_have(tmp_path: Path) -> None:
    engine = CellEngine(tmp_path)
    assert converted(Remembering(tmp_path / "run"), engine, imgsz=50).imgsz == 64
    assert engine.sizes == [64]


def test_a_cancel_comes_before_the_writing(tmp_path: Path) -> None:
    engine = CellEngine(tmp_path)
    with pytest.raises(Canceled):
        converted(Remembering(tmp_path / "run", stop=Canceled()), engine)
    assert engine.sizes == []


def test_two_networks_that_find_nothing_at_all_are_not_called_alike(tmp_path: Path) -> None:
    finder = Shifted(onnx_finder.opened(written(tmp_path / "m.onnx")), lost=1000)
    with pytest.raises(TaskFailed, match="neither of them finds anything"):
        compared(finder, finder, sample_pictures(), 64)
