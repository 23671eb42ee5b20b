"""BERT written out in NumPy, after the paper: what the graph must agree with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tests.unit.workloads.embeddings.folders import HEADS, LAYERS, Weights

Array = np.ndarray[Any, np.dtype[np.float64]]


def hidden_of(weights: Weights, ids: list[int]) -> Array:
    """Return the last hidden state of one text (t, h)."""
    words = weights["embeddings.word_embeddings.weight"][ids]
    positions = weights["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = _normed(
        weights, "embeddings.LayerNorm", words + positions + weights["embeddings.token_type_embeddings.weight"][0]
    )
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        mixed = _linear(weights, f"{at}.attention.output.dense", _attended(weights, at, hidden))
        hidden = _normed(weights, f"{at}.attention.output.LayerNorm", mixed + hidden)
        wide = _gelu(_linear(weights, f"{at}.intermediate.dense", hidden))
        hidden = _normed(weights, f"{at}.output.LayerNorm", _linear(weights, f"{at}.output.dense", wide) + hidden)
    return hidden


def _attended(weights: Weights, at: str, hidden: Array) -> Array:
    query, key, value = (_linear(weights, f"{at}.attention.self.{name}", hidden) for name in ("query", "key", "value"))
    width = hidden.shape[1] // HEADS
    heads = []
    for head in range(HEADS):
        own = slice(head * width, (head + 1) * width)
        scores = query[:, own] @ key[:, own].T / math.sqrt(width)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, own])
    return np.concatenate(heads, axis=1)


def _linear(weights: Weights, name: str, put: Array) -> Array:
    return put @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]


def _normed(weights: Weights, name: str, put: Array) -> Array:
    centred = put - put.mean(axis=-1, keepdims=True)
    return (
        centred / np.sqrt(put.var(axis=-1, keepdims=True) + 1e-12) * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    )


def _gelu(put: Array) -> Array:
    return put * (1 + np.vectorize(math.erf)(put / math.sqrt(2))) / 2
