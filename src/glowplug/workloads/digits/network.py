"""The networks in ONNX Runtime: opened, checked to be what they should be, and called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from glowplug.errors import InvalidInput
from glowplug.workloads.digits.sampler import NO_LABEL, SIDE, Labels, Pixels

LARGEST_BYTES = 64 * 1024 * 1024
GENERATOR_INPUTS = ("pixels", "time", "label")
CLASSIFIER_INPUTS = ("pixels",)


class Network:
    """An ONNX file in memory. `inputs` are the names that it must take."""

    def __init__(self, data: bytes, inputs: tuple[str, ...], *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle threads that spin would take the cores from the processes beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = _opened(data, options)
        found = tuple(put.name for put in self._session.get_inputs())
        if found != inputs:
            raise InvalidInput(f"not a digits network: it takes {', '.join(found)}, not {', '.join(inputs)}")

    def __call__(self, *values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the only output."""
        names = (put.name for put in self._session.get_inputs())
        outputs: list[NDArray[np.float32]] = self._session.run(None, dict(zip(names, values, strict=True)))
        return outputs[0]


class Generator:
    """The network that predicts the velocity of the flow; what `sampler.sample` calls."""

    def __init__(self, data: bytes, *, threads: int = 0) -> None:
        self._network = Network(data, GENERATOR_INPUTS, threads=threads)

    def __call__(self, pixels: Pixels, time: Pixels, label: Labels) -> Pixels:
        """Return the velocity at `time`."""
        return self._network(pixels, time, label)

    def tried(self) -> Generator:
        """Return itself after one call.

        Raises:
            InvalidInput: the network takes other shapes or gives something else than a velocity.
        """
        pixels = np.zeros((2, 1, SIDE, SIDE), np.float32)
        try:
            velocity = self(pixels, np.ones(2, np.float32), np.array([0, NO_LABEL]))
        except Exception as error:  # the runtime's own classes are not part of its interface
            raise InvalidInput(f"not a digits generator: {_first_line(error)}") from error
        if velocity.shape != pixels.shape or not np.isfinite(velocity).all():
            raise InvalidInput(f"not a digits generator: it answers {velocity.shape} instead of {pixels.shape}")
        return self


class Classifier:
    """The network that reads digits."""

    def __init__(self, data: bytes, *, threads: int = 0) -> None:
        self._network = Network(data, CLASSIFIER_INPUTS, threads=threads)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the probabilities of the ten labels (n, 10)."""
        logits = self._network(pixels)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return shares


def generator_in(path: Path, *, threads: int = 0) -> Generator:
    """Open a generator that somebody sent.

    Raises:
        InvalidInput: the file is too large, or not a digits generator in ONNX.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise InvalidInput(f"weights: more than {LARGEST_BYTES} bytes, so not a digits generator", fields=["weights"])
    try:
        # From memory, so that the file cannot point to others beside it.
        return Generator(path.read_bytes(), threads=threads).tried()
    except InvalidInput as error:
        advice = "send the ONNX file that digits.convert makes"
        raise InvalidInput(f"weights: {error.message}; {advice}", fields=["weights"]) from error


def _opened(data: bytes, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidInput(f"not an ONNX network: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
