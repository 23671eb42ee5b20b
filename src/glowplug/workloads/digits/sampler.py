"""Sampling: from noise to digits along the rectified flow, by Euler steps with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from glowplug.workloads.digits.values import Sampling

SIDE = 16
NO_LABEL = 10

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]
Denoise = Callable[[Pixels, Pixels, Labels], Pixels]
"""The network: pixels (n, 1, 16, 16), time (n,), label (n,) to velocity (n, 1, 16, 16)."""


def noise_of(seed: int, picture: int, digits: int) -> Pixels:
    """Return the noise of one picture, which depends on nothing but `seed` and its number in the batch."""
    source = np.random.default_rng([seed, picture])
    return source.standard_normal((digits, 1, SIDE, SIDE), dtype=np.float32)


def sample(denoise: Denoise, labels: Labels, noise: Pixels, plan: Sampling) -> Iterator[Pixels]:
    """Yield after each step what the clean digits look like so far; the last one is the result."""
    state = noise
    for step in range(plan.steps):
        time = 1 - step / plan.steps
        velocity = _guided(denoise, state, time, labels, plan.guidance)
        yield np.clip(state - np.float32(time) * velocity, -1, 1)
        state = state - np.float32(1 / plan.steps) * velocity


def _guided(denoise: Denoise, state: Pixels, time: float, labels: Labels, guidance: float) -> Pixels:
    if guidance == 1:
        return denoise(state, np.full(len(labels), time, np.float32), labels)
    both = np.concatenate([labels, np.full_like(labels, NO_LABEL)])
    times = np.full(len(both), time, np.float32)
    asked, free = np.split(denoise(np.concatenate([state, state]), times, both), 2)
    return free + np.float32(guidance) * (asked - free)
