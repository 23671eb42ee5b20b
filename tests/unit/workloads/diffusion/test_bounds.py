"""A config can ask for no more than its weights can be: told by file and field, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.workloads.diffusion.by_hand import flux_folder, written

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.bounds import LARGEST_NUMBER, check_numbers, most_parts, too_many_parts
from glowplug.workloads.diffusion.estimate import needed
from glowplug.workloads.diffusion.survey import surveyed

CONFIG = Path("unet/config.json")


def spoil(path: Path, **values: object) -> None:
    written(path, {**json.loads(path.read_text()), **values})


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("width", {"width": 10**9}),
        ("width", {"width": -(10**9)}),
        ("widths", {"widths": [32, [10**9]]}),
        ("text_config.width", {"text_config": {"width": 10**9}}),
    ],
)
def test_a_number_beyond_all_weights_is_refused_by_its_field(field: str, config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"unet/config\.json: {field} is -?1000000000, far beyond"):
        check_numbers(CONFIG, config, elements=1_000_000)


def test_numbers_that_large_networks_have_are_taken() -> None:
    check_numbers(CONFIG, {"positions": 10_485_760, "theta": 1e9, "scale": 10**7, "heads": None, "is": True})
    check_numbers(CONFIG, {"numbers": 2 * LARGEST_NUMBER}, elements=2 * LARGEST_NUMBER)


def test_a_number_of_thousands_of_figures_is_shown_in_part() -> None:
    with pytest.raises(SettingsError, match=r"layers is 1000") as caught:
        check_numbers(CONFIG, {"layers": 10**4000})
    assert len(caught.value.message) < 300


def test_a_config_nested_as_deeply_as_can_be_is_read() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    check_numbers(CONFIG, {"deep": deep})


def test_of_too_many_parts_the_largest_count_of_layers_is_named() -> None:
    config = {"sample_size": 5000, "num_layers": 19, "num_single_layers": 4000, "act": "silu"}
    said = too_many_parts(CONFIG, config, 66).message
    assert "its weights are 66 tensors: look at num_single_layers, which is 4000" in said


def test_without_a_count_of_layers_the_largest_number_is_named() -> None:
    assert "look at sample_size, which is 5000" in too_many_parts(CONFIG, {"sample_size": 5000}, 66).message
    assert "look at" in too_many_parts(CONFIG, {}, 66).message


@pytest.mark.parametrize(("tensors", "parts"), [(1160, 2438), (1680, 3609), (220, 684), (517, 909), (244, 484)])
def test_real_networks_are_far_from_the_bound(tensors: int, parts: int) -> None:
    assert parts * 4 < most_parts(tensors)


@pytest.mark.parametrize("part", ["transformer/config.json", "vae/config.json", "scheduler/scheduler_config.json"])
def test_a_folder_is_refused_by_its_file_before_anything_is_read(tmp_path: Path, part: str) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / part, num_train_timesteps=10**10)
    with pytest.raises(SettingsError, match=rf"{part}: num_train_timesteps is 10000000000, far beyond"):
        surveyed(folder)


@pytest.mark.parametrize("value", [None, "x", [2], -2, 0, 2.5])
def test_a_size_that_is_none_is_named_by_the_estimate(tmp_path: Path, value: object) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / "transformer" / "config.json", num_attention_heads=value)
    with pytest.raises(SettingsError, match=r"transformer/config\.json: num_attention_heads holds .* a size is expect"):
        needed(surveyed(folder), None)


@pytest.mark.parametrize("value", ["x", None, -8, 0])
def test_a_width_that_is_none_is_named_by_the_estimate(tmp_path: Path, value: object) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / "vae" / "config.json", block_out_channels=[value, 8])
    with pytest.raises(SettingsError, match=r"vae/config\.json: block_out_channels holds"):
        needed(surveyed(folder), None)


@pytest.mark.parametrize("size", [0, -5])
def test_a_picture_size_that_is_none_is_not_taken(tmp_path: Path, size: int) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / "transformer" / "config.json", sample_size=size)
    assert needed(surveyed(folder), None).pixels == 256
