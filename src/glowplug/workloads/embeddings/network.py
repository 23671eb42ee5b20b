"""The network's file: read with its progress told, and opened in ONNX Runtime."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load

from glowplug.errors import SettingsError, TaskFailed
from glowplug.workloads.embeddings.bert import Shape, encoder

READ_BYTES = 8 * 1024 * 1024
REQUIRED = frozenset({"input_ids", "attention_mask"})
OPTIONAL = frozenset({"token_type_ids"})

Told = Callable[[int, int], None]
"""Hears of bytes read, and of how many there are."""


def read(path: Path, told: Told) -> bytes:
    """Return the file, telling of each piece."""
    total = path.stat().st_size
    data = io.BytesIO()
    with path.open("rb") as stream:
        while piece := stream.read(READ_BYTES):
            data.write(piece)
            told(data.tell(), total)
    return data.getvalue()


class Network:
    """An open network, called with named arrays. It holds on to `weights`, whose memory the runtime uses in place."""

    def __init__(self, session: onnxruntime.InferenceSession, weights: Sequence[onnxruntime.OrtValue] = ()) -> None:
        self._session = session
        self._weights = weights
        self.inputs = frozenset(put.name for put in session.get_inputs())

    def __call__(self, values: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the first output, taking of `values` what the network asks for: a vector for each token.

        Raises:
            TaskFailed: it cannot be run, or answers something else.
        """
        shape = values["input_ids"].shape
        try:
            found = self._session.run(None, {name: values[name] for name in self.inputs})[0]
        except Exception as error:  # the library's own classes are no part of its interface
            raise unfit(str(error).partition(chr(10))[0][:200], type(error).__name__) from error
        if found.ndim != 3 or found.shape[:2] != shape:
            raise unfit(f"it answers {list(found.shape)} to {list(shape)} tokens")
        hidden: NDArray[np.float32] = found
        return hidden


def opened(path: Path, data: bytes, config: Mapping[str, Any], threads: int) -> Network:
    """Open the network that was read from `path`; `threads` of 0 are all cores.

    Raises:
        SettingsError: it is damaged, or not the network of a sentence model.
    """
    options = _options(threads)
    try:
        network = (
            _from_weights(data, config, options) if path.suffix == ".safetensors" else Network(_session(data, options))
        )
    except SettingsError:
        raise
    except Exception as error:  # neither library's own classes are part of its interface
        raise SettingsError(f"{path} is not a network: {str(error).partition(chr(10))[0][:200]}") from error
    if not REQUIRED <= network.inputs <= REQUIRED | OPTIONAL:
        raise SettingsError(f"{path} is not a sentence model: its inputs are {', '.join(sorted(network.inputs))}")
    return network


def unfit(why: str, error_class: str = "ValueError") -> TaskFailed:
    """Return the error of a network that does not do what it should."""
    told = f"the network cannot be used: {why}; take network, tokenizer and config from one model"
    return TaskFailed(told, error_class=error_class)


def _from_weights(data: bytes, config: Mapping[str, Any], options: onnxruntime.SessionOptions) -> Network:
    tensors = {name.removeprefix("bert."): tensor for name, tensor in load(data).items()}
    graph, names = encoder(Shape.of(config), {name: tensor.shape for name, tensor in tensors.items()})
    if odd := [name for name in names if tensors[name].dtype.kind != "f"]:
        raise SettingsError(f"{odd[0]} is of the type {tensors[odd[0]].dtype}; quantised weights are read as ONNX only")
    weights = [onnxruntime.OrtValue.ortvalue_from_numpy(tensors[name].astype(np.float32, copy=False)) for name in names]
    options.add_external_initializers(names, weights)
    return Network(_session(graph, options), weights)


def _session(graph: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads that spin would take the cores from the processes beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
