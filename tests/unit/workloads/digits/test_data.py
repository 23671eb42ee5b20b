"""The two halves of the real digits, the judge's and the generator's, and the reader's training."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: training on the real digits needs glowplug[digits-train]")

from glowplug.workloads.digits.classifier import disturbed, share_right, train_classifier  # noqa: E402
from glowplug.workloads.digits.data import Digits, real_digits  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other work on the machine, threads that wait for one another take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def halves() -> tuple[Digits, Digits]:
    return real_digits()


def test_the_halves_are_all_of_the_real_digits_and_always_the_same(halves: tuple[Digits, Digits]) -> None:
    first, second = halves
    assert (len(first), len(second)) == (899, 898)
    again, _ = real_digits()
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.labels, again.labels)


def test_no_picture_is_in_both_halves(halves: tuple[Digits, Digits]) -> None:
    first, second = (half.pixels.flatten(1) for half in halves)
    assert torch.cdist(first, second).min() > 0.1


def test_every_label_is_well_represented_in_both_halves(halves: tuple[Digits, Digits]) -> None:
    for half in halves:
        assert torch.bincount(half.labels, minlength=10).min() >= 75


def test_pixels_are_between_paper_and_ink(halves: tuple[Digits, Digits]) -> None:
    for half in halves:
        assert half.pixels.shape[1:] == (1, 16, 16)
        assert half.pixels.min() == -1
        assert half.pixels.max() == 1


def test_disturbed_digits_keep_their_shape_and_stay_near_the_middle(halves: tuple[Digits, Digits]) -> None:
    pixels = halves[0].first(50).pixels
    moved = disturbed(pixels)
    assert moved.shape == pixels.shape
    assert not torch.equal(moved, pixels)
    assert moved.min() >= -1.001
    assert moved.max() <= 1.001


def test_a_short_training_reads_most_of_the_other_half(halves: tuple[Digits, Digits]) -> None:
    reader = train_classifier(halves[0], seed=1, steps=120)
    assert share_right(reader, halves[1]) > 0.8
    assert not reader.training


def test_the_same_seed_trains_the_same_reader_and_leaves_chance_alone(halves: tuple[Digits, Digits]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (train_classifier(halves[0], seed=3, steps=5) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    pixels = halves[1].first(4).pixels
    assert torch.equal(one(pixels), two(pixels))
