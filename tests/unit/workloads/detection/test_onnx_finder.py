"""Networks in ONNX: opened if they are detectors, with boxes in the dots of the picture as it came."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.unit.workloads.detection.cells import FAMILY, NAMES, ULTRALYTICS, network, picture, written

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import boxes
from glowplug.workloads.detection.onnx_finder import is_onnx, opened


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def found(path: Path, *images: Path, conf: float = 0.5, imgsz: int = 64) -> list[list[tuple[str, list[int]]]]:
    """Return label and rounded box of what is found in each picture."""
    pictures = [read(image) for image in images]
    answers = opened(path, threads=1).find(pictures, conf, 0.45, imgsz)
    return [[(box.label, [round(value) for value in box.box]) for box in one] for one in answers]


@pytest.mark.parametrize("metadata", [FAMILY, ULTRALYTICS], ids=["corners", "centres"])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_boxes_are_in_the_dots_of_each_picture(tmp_path: Path, metadata: dict[str, str], batch: Any) -> None:
    path = written(tmp_path / "m.onnx", metadata=metadata, batch=batch)
    first, second = picture(tmp_path / "a.png", (1, 2)), picture(tmp_path / "b.png", (0, 0), (5, 7))
    answers = found(path, first, second)
    assert answers[0] == [("bright", [8, 16, 16, 24])]
    assert sorted(answers[1]) == [("bright", [0, 0, 8, 8]), ("bright", [40, 56, 48, 64])]
    assert found(path) == []


@pytest.mark.parametrize(("metadata", "size"), [(FAMILY, (128, 64)), (ULTRALYTICS, (128, 64)), (ULTRALYTICS, (32, 64))])
def test_a_picture_of_another_shape_keeps_its_proportions(
    tmp_path: Path, metadata: dict[str, str], size: tuple[int, int]
) -> None:
    path = written(tmp_path / "m.onnx", metadata=metadata)
    # As large in the square that the network sees as one of its cells, and in the same place as one.
    scale = max(size) / 64
    image = picture(tmp_path / "a.png", (1, 1), size=size, scale=int(scale))
    ((label, box),) = found(path, image)[0]
    assert (label, box) == ("bright", [int(8 * scale), int(8 * scale), int(16 * scale), int(16 * scale)])


def test_names_and_size_are_what_the_metadata_say(tmp_path: Path) -> None:
    finder = opened(written(tmp_path / "m.onnx"))
    assert (finder.names, finder.imgsz) == (NAMES, 64)
    as_python = opened(written(tmp_path / "n.onnx", metadata={**ULTRALYTICS, "names": "{0: 'bright', 1: 'dark'}"}))
    assert as_python.names == NAMES


def test_a_network_of_one_size_sees_every_picture_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx")
    assert found(path, picture(tmp_path / "a.png", (1, 2)), imgsz=640) == [[("bright", [8, 16, 16, 24])]]


def test_more_confidence_means_fewer_boxes_and_the_best_come_first(tmp_path: Path) -> None:
    finder = opened(written(tmp_path / "m.onnx"), threads=1)
    image = read(picture(tmp_path / "a.png", (1, 1)))
    image.paste((215, 215, 215), (32, 32, 40, 40))
    both = finder.find([image], 0.5, 0.45, 64)[0]
    assert [box.confidence for box in both] == sorted((box.confidence for box in both), reverse=True)
    assert len(both) == 2
    assert len(finder.find([image], 0.99, 0.45, 64)[0]) == 1
    assert finder.find([image], 1.0, 0.45, 64) == [[]]


def broken(path: Path, kind: str) -> Path:
    """Write something that is no detector in ONNX."""
    model = network()
    if kind == "nonsense":
        path.write_bytes(b"this is no model at all" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut off":
        path.write_bytes(model.SerializeToString()[:400])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": 1}))
    elif kind == "classifier":
        written(path, metadata={**FAMILY, "task": "classify"})
    elif kind == "unnamed":
        written(path, metadata={**FAMILY, "names": "nonsense"})
    elif kind == "another family":
        written(path, metadata={**FAMILY, "model_family": "yolox"})
    elif kind == "of nobody":
        written(path, metadata={})
    elif kind == "other classes":
        written(path, metadata={**FAMILY, "names": '{"0": "a", "1": "b", "2": "c"}'})
    elif kind == "elsewhere":
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../etc/passwd")
        path.write_bytes(model.SerializeToString())
    elif kind == "elsewhere in a function":
        inner = onnx.FunctionProto(name="F", domain="d", output=["o"])
        inner.opset_import.append(helper.make_opsetid("", 13))
        tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="secret")
        inner.node.append(helper.make_node("Constant", [], ["o"], value=tensor))
        model.functions.append(inner)
        path.write_bytes(model.SerializeToString())
    elif kind == "huge inside":
        model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 40], np.int64), "many"))
        model.graph.node[-1].output[0] = "before"
        model.graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
        model.graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
        model.graph.node.append(helper.make_node("Add", ["before", "sum"], ["output"]))
        path.write_bytes(model.SerializeToString())
    elif kind in ("huge", "no side"):
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 100_000 if kind == "huge" else 0
        path.write_bytes(model.SerializeToString())
    elif kind == "unprintable":
        written(path, metadata={**FAMILY, "names": '{"0": "\\ud800", "1": "b"}'})
    elif kind == "two inputs":
        model.graph.input.append(model.graph.input[0])
        model.graph.input[1].name = "more"
        path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nonsense", "neither weights that detector.train writes nor an ONNX file"),
        ("empty", "neither weights that detector.train writes nor an ONNX file"),
        ("cut off", "neither weights|cannot open it"),
        ("pickle", "neither weights"),
        ("classifier", "the network is no detector"),
        ("unnamed", "the network is no detector: .* 0 class names"),
        ("another family", "do not say that it is YOLOv9"),
        ("of nobody", "do not say that it is YOLOv9"),
        ("other classes", "not a box and 3 scores"),
        ("elsewhere", "its tensors are in other files, which are not opened"),
        ("elsewhere in a function", "its tensors are in other files, which are not opened"),
        ("huge inside", "ONNX Runtime cannot run it"),
        ("huge", "wants pictures of 100000 pixels; 32 to 4096 are possible"),
        ("no side", "wants pictures of 0 pixels; 32 to 4096 are possible"),
        ("unprintable", "a class name is too long or cannot be printed"),
        ("two inputs", "2 inputs, 1 outputs"),
    ],
)
def test_what_is_no_detector_is_refused_in_words(tmp_path: Path, kind: str, said: str) -> None:
    path = broken(tmp_path / "m.onnx", kind)
    with pytest.raises(InvalidInput, match=said) as caught:
        found(path, picture(tmp_path / "a.png"))
    assert caught.value.message.startswith("model_path: ")
    assert caught.value.data["fields"] == ["model_path"]


def answering(path: Path, shape: tuple[int, int, int], value: Any) -> Path:
    """Write a network that answers the same to everything."""
    model, filled = network(), numpy_helper.from_array(np.array([value]), "")
    kind = helper.np_dtype_to_tensor_dtype(np.array([value]).dtype)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["output"], value=filled))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("output", kind, [None, None, None]))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "value", "said"),
    [
        ((1, 6, 4), np.float32("nan"), "answers what are no numbers"),
        ((1, 6, 2_000_000), np.float32(0), r"answers \[1, 6, 2000000\], not a box and 2 scores"),
        ((1, 6, 4), np.int64(1), "the network is no detector"),
        ((1, 6, 4), np.bool_(1), "the network is no detector"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_words(
    tmp_path: Path, shape: tuple[int, int, int], value: Any, said: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^model_path: .*{said}"):
        found(answering(tmp_path / "m.onnx", shape, value), picture(tmp_path / "a.png"))


@pytest.mark.parametrize("value", [np.float32(0.25), np.float16(0.25), np.float64(0.25)])
def test_answers_of_any_plain_kind_are_taken(tmp_path: Path, value: Any) -> None:
    assert found(answering(tmp_path / "m.onnx", (1, 6, 4), value), picture(tmp_path / "a.png")) == [[]]


@pytest.mark.parametrize("deep", [False, True])
def test_a_network_that_may_never_end_is_not_run(tmp_path: Path, deep: bool) -> None:
    told = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("n", 7), ("on", 9), ("x", 1))]
    same = [helper.make_node("Identity", [name], [f"{name}2"]) for name in ("on", "x")]
    body = helper.make_graph(
        same, "body", told, [helper.make_tensor_value_info(f"{name}2", 1, []) for name in ("on", "x")]
    )
    loop = helper.make_node("Loop", ["", "yes", "images"], ["output"], body=body)
    inner = helper.make_graph([loop], "inner", [], [])
    model = network()
    model.graph.node.append(helper.make_node("If", ["yes"], ["output"], then_branch=inner) if deep else loop)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput, match="the network has loops, which may never end"):
        opened(tmp_path / "m.onnx")


def test_what_may_be_onnx_is_told_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    assert is_onnx(written(tmp_path / "best.pt"))
    (tmp_path / "weights.onnx").write_bytes((8).to_bytes(8, "little") + b'{"a": 1}')
    assert not is_onnx(tmp_path / "weights.onnx")
    (tmp_path / "pickle.onnx").write_bytes(pickle.dumps([1]))
    assert not is_onnx(tmp_path / "pickle.onnx")


# The arithmetic of boxes.


def test_of_two_boxes_of_one_class_that_cover_each_other_the_better_one_stays() -> None:
    at = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.float32)
    scores = np.array([[0.8, 0.3], [0.9, 0.1], [0.2, 0.7]], np.float32)
    frame = boxes.Letterbox.of(64, 64, 64, "topleft")
    kept = boxes.chosen(at, scores, 0.25, 0.45, frame)
    assert [(label, round(float(score), 1)) for label, score in zip(kept.labels, kept.confidences, strict=True)] == [
        (0, 0.9),
        (1, 0.7),
        (1, 0.3),
    ]
    assert len(boxes.chosen(at, scores, 0.25, 1.0, frame).labels) == 4


def test_a_place_in_the_square_is_one_in_the_picture_by_what_became_of_each_side() -> None:
    middle = np.array([[32, 32, 32, 32]], np.float32)
    theirs = boxes.Letterbox.of(90, 200, 64, "center", rounded=True)
    assert (theirs.inner, theirs.left) == ((29, 64), 17)
    assert theirs.restored(middle + 0.5)[0, 0] == pytest.approx((32.5 - 17) * 90 / 29)
    ours = boxes.Letterbox.of(90, 200, 64, "center")
    assert (ours.inner, ours.left) == ((28, 64), 18)
    assert ours.restored(middle + 0.5)[0, 0] == pytest.approx((32.5 - 18) * 200 / 64)


def test_a_box_may_be_of_its_best_class_alone() -> None:
    scores = np.array([[0.8, 0.3], [0.4, 0.6]], np.float32)
    assert boxes.best_class(scores).tolist() == [[scores[0, 0], 0], [0, scores[1, 1]]]


def test_boxes_that_are_no_numbers_or_outside_are_left_out() -> None:
    at = np.array([[np.nan, 0, 1, 1], [80, 80, 90, 90], [-5, -5, 10, 10], [5, 5, 5, 9]], np.float32)
    frame = boxes.Letterbox.of(64, 64, 64, "center")
    kept = boxes.chosen(at, np.full((4, 1), 0.9, np.float32), 0.5, 0.45, frame)
    assert kept.boxes.tolist() == [[0, 0, 10, 10]]


def test_there_are_never_more_boxes_than_anybody_could_look_at() -> None:
    dice = np.random.default_rng(0)
    low = dice.uniform(0, 4000, (40_000, 2)).astype(np.float32)
    frame = boxes.Letterbox.of(4096, 4096, 4096, "topleft")
    scores = dice.uniform(0.5, 1, (40_000, 1)).astype(np.float32)
    kept = boxes.chosen(np.concatenate([low, low + 3], axis=1), scores, 0.25, 0.45, frame)
    assert len(kept.labels) == boxes.MOST_BOXES
