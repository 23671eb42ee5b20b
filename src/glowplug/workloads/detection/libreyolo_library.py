"""What is used of libreyolo: the one place that first makes torchvision, which it needs, importable."""

from __future__ import annotations

from glowplug.workloads.torchvision_ops import ensure_torchvision

ensure_torchvision()

from libreyolo import LibreYOLO9  # noqa: E402
from libreyolo.models.yolo9.trainer import YOLO9Trainer  # noqa: E402

__all__ = ["LibreYOLO9", "YOLO9Trainer"]
