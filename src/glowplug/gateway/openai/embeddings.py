"""Embeddings: a list of texts becomes as many calls of a task, and their vectors one answer. Pure."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from glowplug.errors import TaskFailed
from glowplug.gateway.openai.parameters import extras, knows, wrong
from glowplug.gateway.openai.shapes import EmbeddingsRequest
from glowplug.store import TaskInfo

MOST_TEXTS = 2048
NAMES = {"text": "input"}


class _Vector(msgspec.Struct, frozen=True):
    embedding: list[float]
    tokens: int | None = None
    truncated: bool | None = None


def inputs(task: TaskInfo, wish: EmbeddingsRequest, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the task is called with, once for each text. Raises `InvalidInput`."""
    common = extras(task, body, ("model", "input", "text", "dimensions"))
    if wish.dimensions is not None:
        if not knows(task, "dimensions"):
            raise wrong("dimensions", f"{wish.model} gives vectors of one length alone")
        common["dimensions"] = wish.dimensions
    return [{"text": text, **common} for text in _texts(wish.input)]


def answer(wish: EmbeddingsRequest, results: Sequence[Any]) -> dict[str, Any]:
    """Return the body of the answer. Raises `TaskFailed` if the task did not give what it should."""
    vectors = [_vector(result) for result in results]
    tokens = sum(vector.tokens or 0 for vector in vectors)
    return {
        "object": "list",
        "data": [_entry(number, vector, wish.encoding_format) for number, vector in enumerate(vectors)],
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


def _vector(result: Any) -> _Vector:
    try:
        return msgspec.convert(result, _Vector)
    except msgspec.ValidationError as error:
        raise TaskFailed(f"the task serves embeddings, but its result has no embedding of numbers: {error}") from error


def _entry(number: int, vector: _Vector, encoding: str) -> dict[str, Any]:
    packed = _packed(vector.embedding) if encoding == "base64" else vector.embedding
    entry = {"object": "embedding", "index": number, "embedding": packed}
    return {**entry, "truncated": True} if vector.truncated else entry


def _packed(numbers: list[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    except OverflowError as error:
        raise TaskFailed("the task's embedding has a number that 32 bits do not hold") from error
