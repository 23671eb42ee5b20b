"""How large the numbers in a config may be: nothing is built that is far larger than the weights beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError

LARGEST_NUMBER = 1 << 24
"""What any config may say: above the longest texts, steps and frequencies, and small enough for a table of them."""
PARTS_A_TENSOR = 16
"""Layers and parameters that a network is built of, for each tensor in its file: real ones have two to four."""
SPARE_PARTS = 1000
_LAYERS = ("layer", "block", "depth")
_SHOWN_FIGURES = 24


def check_numbers(path: Path, config: Mapping[str, Any], elements: int = 0) -> None:
    """Check that no number in a config is larger than the count of all `elements` of the weights.

    Raises:
        SettingsError: one is; the message names it.
    """
    for field, number in _numbers(config):
        if abs(number) > max(elements, LARGEST_NUMBER):
            told = f"{path}: {field} is {_shown(number)}, far beyond what such a part can have"
            raise SettingsError(f"{told}; fetch it again, or take all its files from one model")


def most_parts(tensors: int) -> int:
    """Return how many layers and parameters a network may have whose weights are so many tensors."""
    return PARTS_A_TENSOR * tensors + SPARE_PARTS


def too_many_parts(path: Path, config: Mapping[str, Any], tensors: int) -> SettingsError:
    """Return what is wrong with a config that a network of more parts was being built of, and where to look."""
    found = list(_numbers(config))
    counts = [one for one in found if any(word in one[0] for word in _LAYERS)] or found or [("it", 0)]
    field, number = max(counts, key=lambda one: one[1])
    told = f"{path} describes a network of more than {most_parts(tensors)} parts, and its weights are {tensors} tensors"
    return SettingsError(f"{told}: look at {field}, which is {_shown(number)}; take config and weights from one model")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Give each whole number, however deep it stands, with the field that it is of."""
    left: list[tuple[str, Any]] = list(config.items())
    while left:
        field, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{field}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            left += [(field, inner) for inner in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield field, value


def _shown(number: int) -> str:
    figures = str(number)
    return figures if len(figures) <= _SHOWN_FIGURES else f"{figures[:_SHOWN_FIGURES]}…"
