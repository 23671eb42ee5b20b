"""The generator's network: a U-Net of 16x16 pixels that predicts the velocity of a rectified flow.

In: pixels (n, 1, 16, 16) between clean (-1..1) and noise, the time t in 0..1 (n,), the label 0..9 or `NO_LABEL` (n,).
Out: the velocity noise - clean, shaped like the pixels.
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 16
NO_LABEL = 10
GROUPS = 8
HEAD_WIDTH = 16
TIME_WIDTH = 128


class ResidualBlock(nn.Module):
    """Two convolutions, told the time and the label in between."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.condition = nn.Linear(TIME_WIDTH, outputs)
        self.norm_out = nn.GroupNorm(GROUPS, outputs)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, pixels: Tensor, condition: Tensor) -> Tensor:
        """Return the features after the block."""
        hidden = self.conv_in(functional.silu(self.norm_in(pixels)))
        hidden = hidden + self.condition(condition)[:, :, None, None]
        hidden = self.conv_out(functional.silu(self.norm_out(hidden)))
        return torch.add(self.skip(pixels), hidden)


class Attention(nn.Module):
    """Self-attention over the pixels; written out, since that is faster to train on a CPU at this size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.norm = nn.GroupNorm(GROUPS, width)
        self.mix_in = nn.Conv2d(width, 3 * width, 1)
        self.mix_out = nn.Conv2d(width, width, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features, each pixel having looked at all others."""
        count, width, high, wide = pixels.shape
        parts = self.mix_in(self.norm(pixels)).reshape(count, 3, self.heads, HEAD_WIDTH, high * wide)
        query, key, value = parts[:, 0], parts[:, 1], parts[:, 2]
        weights = torch.softmax(query.transpose(2, 3) @ key / math.sqrt(HEAD_WIDTH), dim=-1)
        mixed = (value @ weights.transpose(2, 3)).reshape(count, width, high, wide)
        return torch.add(pixels, self.mix_out(mixed))


class UNet(nn.Module):
    """Three levels (16, 8 and 4 pixels wide), attention on the lower two."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        high, middle, low = widths
        self.labels = nn.Embedding(NO_LABEL + 1, TIME_WIDTH)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH))
        self.enter = nn.Conv2d(1, high, 3, padding=1)
        self.down_high = ResidualBlock(high, high)
        self.shrink_high = nn.Conv2d(high, high, 3, stride=2, padding=1)
        self.down_middle = ResidualBlock(high, middle)
        self.attend_down = Attention(middle)
        self.shrink_middle = nn.Conv2d(middle, middle, 3, stride=2, padding=1)
        self.bottom_in = ResidualBlock(middle, low)
        self.attend_bottom = Attention(low)
        self.bottom_out = ResidualBlock(low, low)
        self.grow_middle = nn.Conv2d(low, middle, 3, padding=1)
        self.up_middle = ResidualBlock(2 * middle, middle)
        self.attend_up = Attention(middle)
        self.grow_high = nn.Conv2d(middle, high, 3, padding=1)
        self.up_high = ResidualBlock(2 * high, high)
        self.norm = nn.GroupNorm(GROUPS, high)
        self.leave = nn.Conv2d(high, 1, 3, padding=1)

    def forward(self, pixels: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """Return the predicted velocity."""
        condition = functional.silu(self.time(time_features(time)) + self.labels(label))
        high = self.down_high(self.enter(pixels), condition)
        middle = self.attend_down(self.down_middle(self.shrink_high(high), condition))
        low = self.bottom_in(self.shrink_middle(middle), condition)
        low = self.bottom_out(self.attend_bottom(low), condition)
        hidden = torch.cat([_grown(self.grow_middle, low), middle], dim=1)
        hidden = self.attend_up(self.up_middle(hidden, condition))
        hidden = torch.cat([_grown(self.grow_high, hidden), high], dim=1)
        hidden = functional.silu(self.norm(self.up_high(hidden, condition)))
        velocity: Tensor = self.leave(hidden)
        return velocity


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines of `time` (0..1) at frequencies from 1 to 1000, `TIME_WIDTH` wide."""
    half = TIME_WIDTH // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * (math.log(1000.0) / (half - 1)))
    angles = time[:, None] * rates[None, :]
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def _grown(convolve: nn.Module, pixels: Tensor) -> Tensor:
    enlarged: Tensor = convolve(functional.interpolate(pixels, scale_factor=2.0, mode="nearest"))
    return enlarged
