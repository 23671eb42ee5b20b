"""A sentence model in memory: tokenizer, network in ONNX Runtime, pooling."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from glowplug.errors import InvalidInput, SettingsError
from glowplug.workloads.embeddings.network import Network, unfit
from glowplug.workloads.embeddings.passes import passes
from glowplug.workloads.embeddings.values import Embedding

DECIMALS = 7
PASS_TOKENS = 256
"""What one forward takes: on a CPU, more at once is slower, for it no longer fits into the caches."""
CHARACTERS_A_TOKEN = 24
"""So much of a long text is looked at first; the rest only if that held fewer tokens than the model takes."""
DEFAULT_TOKENS = 512
NETWORKS = ("onnx/model.onnx", "model.onnx", "model.safetensors")
"""Where the network may be, best first: an export by the model's authors is preferred to our own graph."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder says of its model: the config, the file of the network, the longest text, how to pool."""

    config: Mapping[str, Any]
    network: Path
    max_tokens: int
    pools_first: bool
    trained_dimensions: tuple[int, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Layout:
        """Read the small files of `folder`.

        Raises:
            SettingsError: a file is missing or damaged, or the pooling is another than mean or first token.
        """
        config = _json(folder / "config.json")
        network = next((path for name in NETWORKS if (path := folder / name).is_file()), None)
        if network is None:
            raise SettingsError(f"{folder} holds no network; expected one of {', '.join(NETWORKS)}")
        sentences = _json(folder / "sentence_bert_config.json", missing={})
        lengths = sentences.get("max_seq_length") or DEFAULT_TOKENS, config.get("max_position_embeddings", 512)
        if not all(isinstance(length, int) and length > 0 for length in lengths):
            told = f"max_seq_length or max_position_embeddings is no length: {str(lengths)[:80]}"
            raise SettingsError(f"{folder}: {told}; fetch the folder again")
        pools_first = _pools_first(_json(folder / "1_Pooling" / "config.json", missing={}))
        # The word that models carry who were trained for it (Matryoshka), and that other servers read too.
        said = config.get("matryoshka_dimensions")
        trained = tuple(size for size in said if isinstance(size, int)) if isinstance(said, list) else ()
        return cls(config, network, min(lengths), pools_first, trained)


class Encoder:
    """Texts to vectors of length one. A forward takes `pass_tokens`, padding included, or one text."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer, network: Network, pass_tokens: int = PASS_TOKENS) -> None:
        self._layout = layout
        self._tokenizer = tokenizer
        self._network = network
        self._pass_tokens = pass_tokens

    def embed(
        self, texts: Sequence[str], dimensions: int | None = None, between: Callable[[], None] = lambda: None
    ) -> list[Embedding]:
        """Return one embedding per text, in their order; `between` is called before each forward.

        With `dimensions` a vector is cut after so many numbers, and has length one again.

        Raises:
            InvalidInput: the model's vectors are shorter than `dimensions`.
            TaskFailed: the network cannot be run, or answers no vectors.
        """
        encodings = self._encoded(texts)
        lengths = [len(encoding.ids) for encoding in encodings]
        found: list[Embedding | None] = [None] * len(texts)
        for together in passes(lengths, self._pass_tokens):
            between()
            vectors = self._vectors([encodings[number] for number in together])
            note = self._note(dimensions, vectors.shape[1])
            rounded = _unit(vectors[:, :dimensions]).astype(np.float64).round(DECIMALS).tolist()
            for number, vector in zip(together, rounded, strict=True):
                found[number] = Embedding(vector, lengths[number], bool(encodings[number].overflowing), note)
        return [one for one in found if one is not None]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        first = [self._shortened(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(first)
        for number, text in enumerate(texts):
            if len(first[number]) < len(text) and not encodings[number].overflowing:
                encodings[number] = self._tokenizer.encode(text)
        return encodings

    def _shortened(self, text: str) -> str:
        most = CHARACTERS_A_TOKEN * self._layout.max_tokens
        if len(text) <= most:
            return text
        # Not in the midst of a word, where there are such.
        return text[:most].rpartition(" ")[0] or text[:most]

    def _vectors(self, encodings: Sequence[Encoding]) -> Floats:
        ids, mask = _padded(encodings)
        hidden = self._network({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        vectors = hidden[:, 0] if self._layout.pools_first else _mean(hidden, mask)
        if not np.isfinite(vectors).all():
            raise unfit("it answers what are no numbers (NaN or infinite), so its weights are damaged")
        return vectors

    def _note(self, dimensions: int | None, width: int) -> str | None:
        if dimensions is None or dimensions == width:
            return None
        if dimensions > width:
            told = f"dimensions: the model's vectors have {width} numbers, and not {dimensions}"
            raise InvalidInput(told, fields=["dimensions"])
        if dimensions in self._layout.trained_dimensions:
            return None
        return f"the model was not trained for {dimensions} dimensions: expect worse results than with {width}"


def tokenizer_of(folder: Path, layout: Layout) -> Tokenizer:
    """Return the tokenizer, which cuts texts at the model's longest.

    Raises:
        SettingsError: there is none, or it is damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SettingsError(f"{path} is missing")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise SettingsError(f"{path} is damaged: {error}") from error
    tokenizer.enable_truncation(layout.max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _json(path: Path, *, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise SettingsError(f"{path} is missing: not the folder of a sentence model") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is damaged: it is no JSON object")
    return found


def _pools_first(pooling: Mapping[str, Any]) -> bool:
    chosen = [
        name.removeprefix("pooling_mode_") for name, on in pooling.items() if name.startswith("pooling_mode_") and on
    ]
    if len(chosen) > 1 or (chosen and chosen[0] not in ("mean_tokens", "cls_token")):
        raise SettingsError(f"pooling by {' and '.join(chosen)} is not supported; mean_tokens and cls_token are")
    return chosen == ["cls_token"]


def _padded(encodings: Sequence[Encoding]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    longest = max(len(encoding.ids) for encoding in encodings)
    ids, mask = np.zeros((2, len(encodings), longest), np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids)] = 1
    return ids, mask


def _mean(hidden: Floats, mask: NDArray[np.int64]) -> Floats:
    weight = mask[..., None].astype(np.float32)
    mean: Floats = (hidden * weight).sum(axis=1) / weight.sum(axis=1)
    return mean


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit
