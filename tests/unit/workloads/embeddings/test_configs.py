"""Configs that lie about a sentence model are refused by their field, before anything is built of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.workloads.embeddings.folders import HEADS, POSITIONS, WIDTH, bert

from glowplug.errors import SettingsError
from glowplug.load_context import LoadContext
from glowplug.workloads.embeddings.model import Embeddings


def load(folder: Path) -> None:
    Embeddings().load(LoadContext(options={"source": str(folder)}))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"num_hidden_layers": 1_000_000}, r"num_hidden_layers is 1000000, and .* holds 37 tensors"),
        ({"hidden_size": 10**9}, rf"hidden_size is 1000000000, and .* is {WIDTH} wide"),
        ({"max_position_embeddings": 10**9}, rf"max_position_embeddings is 1000000000, and .* has {POSITIONS}"),
        ({"num_attention_heads": HEADS + 1}, r"num_attention_heads is 5"),
        ({"num_attention_heads": 10**9}, r"num_attention_heads is 1000000000"),
    ],
)
def test_a_config_that_is_not_of_its_weights_is_refused_by_its_field(
    tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    bert(tmp_path, config=config)
    with pytest.raises(SettingsError, match=rf"config\.json: {why}"):
        load(tmp_path)


@pytest.mark.parametrize("value", [None, "x", 0, -3, 2.5, [2]])
@pytest.mark.parametrize("name", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_a_size_that_is_none_is_named(tmp_path: Path, name: str, value: object) -> None:
    bert(tmp_path, config={name: value})
    with pytest.raises(SettingsError, match=rf"config\.json: {name} is '.*', where a size is expected"):
        load(tmp_path)


@pytest.mark.parametrize("value", ["x", -3, 2.5, [2]])
def test_a_longest_text_that_is_none_is_named(tmp_path: Path, value: object) -> None:
    bert(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": value}))
    with pytest.raises(SettingsError, match="max_seq_length or max_position_embeddings is no length"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["[1]", "7", '"x"', "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "sentence_bert_config.json"])
def test_json_that_is_no_object_is_a_damaged_file(tmp_path: Path, name: str, text: str) -> None:
    bert(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=rf"{name} is damaged"):
        load(tmp_path)


def test_trained_dimensions_that_are_none_are_not_taken(tmp_path: Path) -> None:
    bert(tmp_path, config={"matryoshka_dimensions": 7})
    load(tmp_path)
