"""Texts that go through the network together: all of them once, padded no further than the budget allows."""

from __future__ import annotations

import random

import pytest

from glowplug.workloads.embeddings.passes import passes


@pytest.mark.parametrize("seed", range(20))
def test_each_text_is_in_one_pass_and_no_pass_is_over_the_budget(seed: int) -> None:
    chance = random.Random(seed)
    lengths = [chance.randint(1, 200) for _ in range(chance.randint(1, 300))]
    found = list(passes(lengths, 256))
    assert sorted(number for together in found for number in together) == list(range(len(lengths)))
    for together in found:
        padded = len(together) * max(lengths[number] for number in together)
        assert padded <= 256 or len(together) == 1


def test_texts_of_like_length_go_together() -> None:
    assert list(passes([3, 100, 3, 100], 200)) == [[1, 3], [0, 2]]


def test_a_text_over_the_budget_goes_alone() -> None:
    assert list(passes([500, 10, 10], 256)) == [[0], [1, 2]]


def test_nothing_makes_no_pass() -> None:
    assert list(passes([], 256)) == []


def test_padding_is_kept_small() -> None:
    chance = random.Random(0)
    lengths = [min(250, int(chance.lognormvariate(3.2, 0.8)) + 3) for _ in range(256)]
    padded = sum(len(one) * max(lengths[number] for number in one) for one in passes(lengths, 256))
    assert padded < 1.15 * sum(lengths)
