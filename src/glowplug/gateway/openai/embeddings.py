"""Embeddings: a list of texts becomes as many calls of a task, and their vectors one answer. Pure."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from glowplug.errors import TaskFailed
from glowplug.gateway.openai.parameters import extras, knows, wrong
from glowplug.gateway.openai.shapes import EmbeddingsRequest
from glowplug.store import TaskInfo

MOST_TEXTS = 2048
NAMES = {"text": "input"}


def inputs(task: TaskInfo, wish: EmbeddingsRequest, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the task is called with, once for each text. Raises `InvalidInput`."""
    common = extras(task, body, ("model", "input", "text", "dimensions"))
    if wish.dimensions is not None:
        if not knows(task, "dimensions"):
            raise wrong("dimensions", f"{wish.model} gives vectors of one length alone")
        common["dimensions"] = wish.dimensions
    return [{"text": text, **common} for text in _texts(wish.input)]


def answer(wish: EmbeddingsRequest, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the body of the answer. Raises `TaskFailed` if the task did not give what it should."""
    tokens = sum(int(result.get("tokens", 0)) for result in results)
    return {
        "object": "list",
        "data": [_entry(number, result, wish.encoding_format) for number, result in enumerate(results)],
        "model": wish.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise wrong("input", "a text or a list of texts is expected")
    if len(texts) > MOST_TEXTS:
        raise wrong("input", f"{len(texts)} texts are more than {MOST_TEXTS}; send them in several requests")
    if any(isinstance(text, int | list) for text in texts):
        raise wrong("input", "arrays of tokens are not taken, as each model has tokens of its own; send the text")
    if not all(isinstance(text, str) and text for text in texts):
        raise wrong("input", "every text has at least one character")
    return texts


def _entry(number: int, result: Any, encoding: str) -> dict[str, Any]:
    vector = result.get("embedding") if isinstance(result, Mapping) else None
    if not isinstance(vector, list):
        raise TaskFailed("the task serves embeddings, but its result has no list called embedding")
    packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding == "base64" else vector
    entry = {"object": "embedding", "index": number, "embedding": packed}
    return {**entry, "truncated": True} if result.get("truncated") else entry
