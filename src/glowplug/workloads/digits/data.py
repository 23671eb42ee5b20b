"""The real digits: scikit-learn's 1 797 of 8x8, enlarged to 16x16, in two halves that share no picture.

The generator and the shipped classifier learn from the first half alone; the second is for judging them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

SPLIT_SEED = 20260101
INK_LEVELS = 16


@dataclass(frozen=True, slots=True)
class Digits:
    """Pictures (n, 1, 16, 16) in -1 (paper) to 1 (ink), and their labels (n,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Digits:
        """Return the first `count` of them."""
        return Digits(self.pixels[:count], self.labels[:count])


def real_digits() -> tuple[Digits, Digits]:
    """Return the two halves, always the same ones."""
    source = load_digits()
    small = torch.tensor(source.images, dtype=torch.float32)[:, None] / INK_LEVELS
    large = functional.interpolate(small, scale_factor=2.0, mode="bicubic", align_corners=False)
    pixels, labels = large.clamp(0, 1) * 2 - 1, torch.tensor(source.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    middle = (len(order) + 1) // 2
    first, second = order[:middle], order[middle:]
    return Digits(pixels[first], labels[first]), Digits(pixels[second], labels[second])
