"""What libreyolo and Ultralytics found in a picture, in our words: both tell it in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glowplug.workloads.detection.engine import Box


def boxes(found: Any, names: Sequence[str]) -> list[Box]:
    """Return the boxes of a result, most confident first."""
    rows = zip(found.cls.tolist(), found.conf.tolist(), found.xyxy.tolist(), strict=True)
    named = [Box(names[int(label)], score, (at[0], at[1], at[2], at[3])) for label, score, at in rows]
    return sorted(named, key=lambda box: -box.confidence)
