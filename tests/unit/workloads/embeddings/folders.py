"""Folders of sentence models made for tests: a tiny BERT with random weights, and an ONNX file that is no BERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "sleeps", "runs", "the", "market"]
WIDTH, HEADS, LAYERS, WIDE, POSITIONS = 16, 4, 2, 32, 24
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": WIDE,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "vocab_size": len(WORDS),
}
Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def bert(folder: Path, *, config: dict[str, Any] | None = None, prefix: str = "") -> Weights:
    """Write the folder of a tiny BERT; returns its weights."""
    weights = random_weights()
    small_files(folder, config)
    save_file({prefix + name: value for name, value in weights.items()}, folder / "model.safetensors")
    return weights


def small_files(folder: Path, config: dict[str, Any] | None = None) -> None:
    """Write everything but the network."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(folder / "tokenizer.json"))


def pooling(folder: Path, **modes: bool) -> None:
    """Say how to pool."""
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def random_weights() -> Weights:
    """Return all weights of the tiny BERT, always the same ones."""
    chance = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{at}.attention.{name}.weight"], shapes[f"{at}.attention.{name}.bias"] = (WIDTH, WIDTH), (WIDTH,)
        shapes[f"{at}.intermediate.dense.weight"], shapes[f"{at}.intermediate.dense.bias"] = (WIDE, WIDTH), (WIDE,)
        shapes[f"{at}.output.dense.weight"], shapes[f"{at}.output.dense.bias"] = (WIDTH, WIDE), (WIDTH,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{at}.{name}.weight"], shapes[f"{at}.{name}.bias"] = (WIDTH,), (WIDTH,)
    return {name: chance.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}


def exported(*inputs: str) -> bytes:
    """Return an ONNX network whose hidden state is the token's number, three wide."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["column"]),
        helper.make_node("Concat", ["column", "column", "column"], ["hidden"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "export",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in inputs],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", "t", 3])],
        initializer=[helper.make_tensor("last", TensorProto.INT64, [1], [-1])],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
