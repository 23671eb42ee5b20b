"""From a picture to what a network takes, and from what it answers to boxes in the picture: numpy and OpenCV alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GREY = 114
MOST_CANDIDATES = 30_000
MOST_BOXES = 300


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture of `size` (width, height) lies within the square that a network sees, its proportions kept.

    It becomes `inner` in size, which `scale` is for each side, and begins at `left` and `top`.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    scale: tuple[float, float]
    left: int
    top: int

    @classmethod
    def of(
        cls, width: int, height: int, side: int, pad: Literal["topleft", "center"], *, rounded: bool = False
    ) -> Letterbox:
        """Return the place of a picture in a square of `side`: in its corner or in its middle.

        Networks want it done just as in their training: cut to whole dots (libreyolo), or rounded to them, and each
        side scaled by what became of it (Ultralytics).
        """
        ratio, whole = min(side / height, side / width), round if rounded else int
        inner = (max(whole(width * ratio), 1), max(whole(height * ratio), 1))
        scale = (inner[0] / width, inner[1] / height) if rounded else (ratio, ratio)
        left, top = ((side - inner[0]) // 2, (side - inner[1]) // 2) if pad == "center" else (0, 0)
        return cls((width, height), inner, scale, left, top)

    def filled(self, pixels: Pixels, side: int) -> Array:
        """Return the square with the picture in it as the network takes it: channels first, 0 to 1."""
        square = np.full((side, side, 3), GREY, dtype=np.uint8)
        resized: Any = cv2.resize(pixels, self.inner, interpolation=cv2.INTER_LINEAR)
        square[self.top : self.top + self.inner[1], self.left : self.left + self.inner[0]] = resized
        return np.ascontiguousarray(square.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)

    def restored(self, boxes: Array) -> Array:
        """Return boxes of the square as boxes of the picture, cut where it ends."""
        offset = np.array([self.left, self.top] * 2, dtype=np.float32)
        scale = np.array([*self.scale] * 2, dtype=np.float32)
        limits = np.array([*self.size] * 2, dtype=np.float32)
        found: Array = np.clip((boxes - offset) / scale, 0, limits)
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes (n, 4: corners) with their confidences and class numbers, most confident first."""

    boxes: Array
    confidences: Array
    labels: NDArray[np.int64]


def corners(boxes: Array) -> Array:
    """Return boxes given as centre, width and height by their corners."""
    half = boxes[:, 2:] / 2
    found: Array = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return found


def best_class(scores: Array) -> Array:
    """Return scores (n, classes) with nothing but the best class of each box in them."""
    found: Array = np.where(scores == scores.max(axis=1, keepdims=True), scores, np.float32(0))
    return found


def chosen(
    boxes: Array, scores: Array, conf: float, iou: float, letterbox: Letterbox, *, cut_first: bool = True
) -> Found:
    """Return what is worth showing of a network's answers: `boxes` (n, 4) and `scores` (n, classes) of the square.

    A box counts once for each class that is more confident than `conf`; of boxes of one class that cover each other by
    more than `iou`, the best one stays. They are cut where the picture ends before that (libreyolo) or after it.
    """
    places, labels = np.nonzero(scores > conf)
    confidences = scores[places, labels]
    at = letterbox.restored(boxes[places]) if cut_first else boxes[places]
    fine = np.isfinite(at).all(axis=1) & np.isfinite(confidences) & (at[:, 2:] > at[:, :2]).all(axis=1)
    at, confidences, labels = at[fine], confidences[fine], labels[fine]
    best = np.argsort(-confidences, kind="stable")[:MOST_CANDIDATES]
    at, confidences, labels = at[best], confidences[best], labels[best]
    kept = [one for label in np.unique(labels) for one in _kept(at, np.flatnonzero(labels == label), iou)]
    order = np.array(sorted(kept)[:MOST_BOXES], dtype=np.int64)
    final = at[order] if cut_first else letterbox.restored(at[order])
    return Found(final, confidences[order], labels[order])


def _kept(boxes: Array, order: NDArray[np.int64], iou: float) -> list[int]:
    """Return the places of those that no better one of `order` covers."""
    kept: list[int] = []
    while len(order) and len(kept) < MOST_BOXES:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[overlaps(boxes[best], boxes[order]) <= iou]
    return kept


def overlaps(box: Array, others: Array) -> Array:
    """Return the area that a box has in common with each of the others, as a share of the area of both."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    whole = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    found: Array = shared / np.maximum(whole, np.float32(1e-9))
    return found
