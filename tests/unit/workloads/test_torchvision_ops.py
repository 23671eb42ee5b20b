"""torchvision works beside a torch that its compiled operators do not fit."""

from __future__ import annotations

import importlib

import pytest
import torch

from glowplug.workloads.torchvision_ops import ensure_torchvision, suppressed


def boxes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=chance).sort(dim=1).values * 100
    return corners.reshape(count, 4), torch.rand(count, generator=chance)


def share(one: torch.Tensor, other: torch.Tensor) -> float:
    width = float(min(one[2], other[2]) - max(one[0], other[0]))
    height = float(min(one[3], other[3]) - max(one[1], other[1]))
    common = max(0.0, width) * max(0.0, height)
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return common / (sum(areas) - common)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_no_kept_box_covers_another_and_every_dropped_one_is_covered_by_a_better(threshold: float) -> None:
    found, scores = boxes(40, seed=3)
    kept = suppressed(found, scores, threshold).tolist()
    assert [float(scores[number]) for number in kept] == sorted(
        (float(scores[number]) for number in kept), reverse=True
    )
    for number in range(40):
        covered = any(
            share(found[number], found[better]) > threshold and scores[better] >= scores[number]
            for better in kept
            if better != number
        )
        assert covered is (number not in kept)


def test_of_no_boxes_none_are_kept() -> None:
    assert suppressed(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_torchvision_imports_and_suppresses_however_it_was_built() -> None:
    ensure_torchvision()
    assert ensure_torchvision() is False, "once is enough"
    operators = importlib.import_module("torchvision.ops")
    found, scores = boxes(30, seed=5)
    assert operators.nms(found, scores, 0.3).tolist() == suppressed(found, scores, 0.3).tolist()
