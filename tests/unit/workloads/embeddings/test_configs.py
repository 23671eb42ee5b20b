"""Configs that lie about a sentence model are refused by their field, before anything is built of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file
from tests.unit.workloads.embeddings.folders import HEADS, POSITIONS, WIDTH, bert, exported, small_files

from glowplug.errors import SettingsError, TaskFailed
from glowplug.load_context import LoadContext
from glowplug.model import Batch, RunContext
from glowplug.workloads.embeddings.model import Embeddings
from glowplug.workloads.embeddings.values import Embedding


def load(folder: Path) -> Embeddings:
    model = Embeddings()
    model.load(LoadContext(options={"source": str(folder), "threads": "1"}))
    return model


def embed(folder: Path) -> Embedding:
    return load(folder).embed(RunContext(), Batch(["a cat"]))[0]


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


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "uint16"])
def test_weights_that_are_no_plain_numbers_are_not_taken_for_some(tmp_path: Path, dtype: str) -> None:
    weights = bert(tmp_path)
    save_file({name: value.astype(dtype) for name, value in weights.items()}, tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match=rf"is of the type {dtype}; quantised weights are read as ONNX only"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_another_plain_type_are_taken(tmp_path: Path, dtype: str) -> None:
    weights = bert(tmp_path)
    save_file({name: value.astype(dtype) for name, value in weights.items()}, tmp_path / "model.safetensors")
    assert embed(tmp_path).tokens == 4


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("embeddings.LayerNorm.bias", np.full(WIDTH, np.nan, np.float32), "no numbers .* weights are damaged"),
        ("embeddings.word_embeddings.weight", np.zeros((3, WIDTH), np.float32), "out of data bounds"),
        ("embeddings.word_embeddings.weight", np.zeros(WIDTH, np.float32), "RUNTIME|FAIL"),
    ],
)
def test_a_network_that_cannot_answer_says_so_at_its_first_text(
    tmp_path: Path, name: str, value: np.ndarray[Any, Any], why: str
) -> None:
    save_file(bert(tmp_path) | {name: value}, tmp_path / "model.safetensors")
    with pytest.raises(TaskFailed, match=rf"the network cannot be used: .*{why}") as caught:
        embed(tmp_path)
    assert "take network, tokenizer and config from one model" in caught.value.message


def test_an_export_that_answers_no_vector_a_token_says_so(tmp_path: Path) -> None:
    small_files(tmp_path)
    model = onnx.load_model_from_string(exported("input_ids", "attention_mask"))
    model.graph.output[0].name = "numbers"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(TaskFailed, match=r"it answers \[1, 4\] to \[1, 4\] tokens"):
        embed(tmp_path)
