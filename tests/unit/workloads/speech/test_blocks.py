"""Cutting a long recording where it is quiet."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.workloads.speech.blocks import LONGEST_BLOCK, blocks
from glowplug.workloads.speech.decoding import RATE


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.1, 299, 300])
def test_a_short_recording_stays_whole(seconds: float) -> None:
    ((start, block),) = blocks(noise(seconds))
    assert (start, len(block)) == (0, int(seconds * RATE))


def test_a_long_one_is_cut_in_a_pause_and_nothing_is_lost() -> None:
    samples = noise(700)
    pauses = [(280 * RATE, 281 * RATE), (560 * RATE, 561 * RATE)]
    for begin, end in pauses:
        samples[begin:end] = 0
    found = list(blocks(samples))
    assert [start for start, _ in found[1:]] == [pytest.approx((a + b) / 2, abs=RATE) for a, b in pauses]
    assert all(begin <= start <= end for (start, _), (begin, end) in zip(found[1:], pauses, strict=True))
    np.testing.assert_array_equal(np.concatenate([block for _, block in found]), samples)


def test_no_part_is_longer_than_is_taken_even_without_a_pause() -> None:
    found = [len(block) for _, block in blocks(np.ones(1000 * RATE, np.float32))]
    assert max(found) <= LONGEST_BLOCK
    assert sum(found) == 1000 * RATE
