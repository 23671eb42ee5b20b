from __future__ import annotations

import pytest

from glowplug.errors import InvalidInput
from glowplug.workloads.detection.libreyolo_names import chosen


@pytest.mark.parametrize(
    ("name", "size"),
    [("small", "t"), ("tiny", "t"), ("medium", "s"), ("large", "c"), ("yolo9-s", "s"), ("yolov9-c", "c"), ("T", "t")],
)
def test_names_of_its_own_are_taken_without_a_word(name: str, size: str) -> None:
    assert chosen(name) == (size, [])


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("yolov8n", "t"),
        ("yolov8n.pt", "t"),
        ("YOLOv8s.yaml", "s"),
        ("yolo11m", "m"),
        ("yolov5l", "c"),
        ("yolov8x", "c"),
    ],
)
def test_names_of_others_become_the_nearest_and_that_is_said(name: str, size: str) -> None:
    found, notes = chosen(name)
    assert found == size
    assert notes == [f"{name} was asked for; libreyolo trained yolo9-{size} from nothing, the nearest that it has"]


@pytest.mark.parametrize("name", ["", "resnet50", "yolo", "best.pt", "/etc/passwd", "yolov8n.onnx", "detrs"])
def test_other_names_are_refused_with_those_that_work(name: str) -> None:
    with pytest.raises(InvalidInput, match="known are small, tiny, medium, large, yolo9-t"):
        chosen(name)
