"""The reader's network: a small CNN trained on shifted, turned and scaled real digits."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from glowplug.workloads.digits.data import Digits

PAPER = -1.0
STEPS = 1500
BATCH = 64
PEAK_RATE = 2e-3


class Classifier(nn.Module):
    """Pixels (n, 1, 16, 16) in -1..1 to the logits of the ten labels (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(1, 24),
            *_block(24, 48),
            *_block(48, 96),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(96 * 2 * 2, 10),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.layers(pixels)
        return logits


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU(), nn.MaxPool2d(2)]


def train_classifier(data: Digits, seed: int, steps: int = STEPS) -> Classifier:
    """Return a classifier trained on `data`, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Classifier()
        optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
        for _ in range(steps):
            picked = torch.randint(len(data), (BATCH,))
            loss = functional.cross_entropy(network(disturbed(data.pixels[picked])), data.labels[picked])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def disturbed(pixels: Tensor) -> Tensor:
    """Return the pictures shifted by up to 1.2 pixels, turned by up to 12 degrees, and scaled by up to a sixth."""
    count = len(pixels)
    angle, lean = (torch.rand(count, 2) * 2 - 1).unbind(1)
    angle, lean = angle * math.radians(12), lean * 0.15
    grow = 1 + (torch.rand(count, 2) * 2 - 1) / 6
    shift = (torch.rand(count, 2) * 2 - 1) * 0.15
    rows = torch.stack(
        [
            torch.stack([angle.cos() * grow[:, 0], lean - angle.sin(), shift[:, 0]], 1),
            torch.stack([angle.sin(), angle.cos() * grow[:, 1], shift[:, 1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(rows, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels - PAPER, grid, align_corners=False) + PAPER


def share_right(network: Classifier, data: Digits) -> float:
    """Return the share of `data` that the classifier reads as labelled."""
    with torch.no_grad():
        return float((network(data.pixels).argmax(1) == data.labels).float().mean())
