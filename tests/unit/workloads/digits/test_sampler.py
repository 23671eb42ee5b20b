"""The walk from noise to digits, along flows whose end is known."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.workloads.digits.sampler import NO_LABEL, SIDE, Labels, Pixels, noise_of, sample
from glowplug.workloads.digits.values import Sampling

TARGET = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(1, 1, SIDE, SIDE)


class StraightFlow:
    """Knows the way: from any point at time t the clean picture is `targets[label]`."""

    def __init__(self, targets: dict[int, Pixels]) -> None:
        self.targets = targets
        self.times: list[float] = []
        self.labels: list[list[int]] = []

    def __call__(self, pixels: Pixels, time: Pixels, label: Labels) -> Pixels:
        self.times.append(float(time[0]))
        self.labels.append(label.tolist())
        clean = np.concatenate([self.targets[int(one)] for one in label])
        return (pixels - clean) / time[:, None, None, None]


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_a_straight_flow_ends_at_its_target_in_any_number_of_steps(steps: int) -> None:
    flow = StraightFlow({3: TARGET})
    *_, digits = sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(steps, 1.0))
    np.testing.assert_allclose(digits, TARGET, atol=1e-5)


def test_each_step_yields_once_and_time_goes_from_noise_towards_clean() -> None:
    flow = StraightFlow({3: TARGET})
    seen = list(sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(5, 1.0)))
    assert len(seen) == 5
    assert flow.times == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_guidance_asks_with_and_without_the_label_in_one_call() -> None:
    flow = StraightFlow({3: TARGET, 5: TARGET, NO_LABEL: -TARGET})
    list(sample(flow, np.array([3, 5]), noise_of(0, 0, 2), Sampling(2, 3.0)))
    assert flow.labels == [[3, 5, NO_LABEL, NO_LABEL]] * 2


def test_guidance_of_one_asks_only_with_the_label() -> None:
    flow = StraightFlow({3: TARGET})
    list(sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(2, 1.0)))
    assert flow.labels == [[3]] * 2


def test_more_guidance_goes_further_from_what_is_drawn_without_a_label() -> None:
    half = TARGET / 2
    flow = StraightFlow({3: half, NO_LABEL: np.zeros_like(TARGET)})
    *_, once = sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(4, 1.0))
    *_, twice = sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(4, 2.0))
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5)


def test_what_is_yielded_is_between_paper_and_ink() -> None:
    flow = StraightFlow({3: TARGET * 40})
    for digits in sample(flow, np.array([3]), noise_of(0, 0, 1), Sampling(3, 1.0)):
        assert digits.min() >= -1
        assert digits.max() <= 1


def test_the_noise_of_a_picture_depends_on_the_seed_and_its_number_alone() -> None:
    assert np.array_equal(noise_of(7, 3, 1), noise_of(7, 3, 1))
    assert not np.array_equal(noise_of(7, 3, 1), noise_of(7, 4, 1))
    assert not np.array_equal(noise_of(7, 3, 1), noise_of(8, 3, 1))


def test_the_largest_seed_that_json_carries_is_fine() -> None:
    assert noise_of(2**53 - 1, 63, 8).shape == (8, 1, SIDE, SIDE)


def test_noise_is_standard_normal() -> None:
    noise = noise_of(0, 0, 200)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
