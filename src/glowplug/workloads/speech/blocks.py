"""Cutting a long recording where it is quiet: the network's input for an hour of it would take 3 GB at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from glowplug.workloads.speech.decoding import RATE

LONGEST_BLOCK = 300 * RATE
LOOKED_THROUGH = 30 * RATE
PAUSE = RATE // 5


def blocks(samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Give the parts of a recording, each with where it begins."""
    start = 0
    while len(samples) - start > LONGEST_BLOCK:
        cut = start + LONGEST_BLOCK - LOOKED_THROUGH
        cut += _quietest(samples[cut : cut + LOOKED_THROUGH])
        yield start, samples[start:cut]
        start = cut
    yield start, samples[start:]


def _quietest(samples: NDArray[np.float32]) -> int:
    """Return the middle of the quietest fifth of a second."""
    energies = np.square(samples).reshape(-1, PAUSE).mean(axis=1)
    return int(energies.argmin()) * PAUSE + PAUSE // 2
