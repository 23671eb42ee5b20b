"""A config can ask for no more than its weights can be: told by file and field, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.workloads.diffusion.by_hand import TRANSFORMER, flux_folder, safetensors, written

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.bounds import LARGEST_NUMBER, check_numbers, too_many_parts
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


@pytest.mark.parametrize("kind", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_a_length_that_prompts_are_filled_up_to_is_bounded(tmp_path: Path, kind: str) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / "model_index.json", tokenizer=["transformers", kind])
    written(folder / "tokenizer" / "tokenizer_config.json", {"model_max_length": 10**9})
    with pytest.raises(SettingsError, match=r"tokenizer/tokenizer_config\.json: model_max_length is 1000000000"):
        surveyed(folder)


def test_a_tokenizer_that_knows_no_longest_prompt_is_taken(tmp_path: Path) -> None:
    folder = flux_folder(tmp_path)
    spoil(folder / "model_index.json", tokenizer_2=["transformers", "T5TokenizerFast"])
    written(folder / "tokenizer_2" / "tokenizer_config.json", {"model_max_length": 10**30})
    assert not surveyed(folder).components["tokenizer_2"].has_weights


@pytest.mark.parametrize("dtype", ["I8", "U8", "BOOL", "C64", "I64"])
def test_quantised_weights_are_not_taken_for_plain_numbers(tmp_path: Path, dtype: str) -> None:
    folder = flux_folder(tmp_path)
    safetensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", TRANSFORMER, dtype)
    with pytest.raises(SettingsError, match=rf"x_embedder\.weight is of the type {dtype}, as quantised weights are"):
        surveyed(folder)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E4M3"])
def test_real_numbers_of_any_size_are_taken(tmp_path: Path, dtype: str) -> None:
    folder = flux_folder(tmp_path)
    safetensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", TRANSFORMER, dtype)
    assert surveyed(folder).components["transformer"].elements == 1024
