"""The weights of a detector as one file that says by itself what it holds.

`python -m glowplug.workloads.detection.weights FILE.pt FILE.safetensors` makes one of a checkpoint of libreyolo's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from glowplug.errors import InvalidInput
from glowplug.workloads.detection import tensors
from glowplug.workloads.detection.class_names import checked_names

KIND = "detector"
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64)
"""Of the tensors, counters among them: what is quantised would be taken for plain numbers."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A network's tensors by name, which network it is, what its classes are called, and for what size it was made."""

    engine: str
    family: str
    size: str
    names: tuple[str, ...]
    imgsz: int
    state: Mapping[str, torch.Tensor]

    @property
    def model(self) -> str:
        """Return the name of the network."""
        return f"{self.family}-{self.size}"

    def fitting(self, own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors that a network with `own` ones can take over; those for other classes are left out."""
        return {name: value for name, value in self.state.items() if name in own and own[name].shape == value.shape}

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        head = {"kind": KIND, "engine": self.engine, "family": self.family, "size": self.size, "imgsz": self.imgsz}
        tensors.write(path, head | {"names": list(self.names), "state": self.state})


def read(path: Path, engine: str, parameter: str = "model_path") -> Weights:
    """Return the weights in a file that came as the parameter of that name.

    Raises:
        InvalidInput: the file is none of `engine`'s weights.
    """
    tree = tensors.read(path, parameter)
    try:
        if tree["kind"] != KIND or tree["engine"] != engine:
            raise InvalidInput(
                f"{parameter}: holds {tree['kind']} of the engine {tree['engine']}, not a {KIND} of {engine}",
                fields=[parameter],
            )
        return _of(tree, engine)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{parameter}: not the weights of a detector: {error}", fields=[parameter]) from error


def _of(tree: Mapping[str, Any], engine: str) -> Weights:
    names, imgsz, state = checked_names([str(name) for name in tree["names"]]), int(tree["imgsz"]), dict(tree["state"])
    if not SMALLEST_SIDE <= imgsz <= LARGEST_SIDE:
        raise ValueError(f"a picture size of {imgsz}, where {SMALLEST_SIDE} to {LARGEST_SIDE} are expected")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.dtype not in TYPES:
            raise ValueError(f"{str(name)[:80]} holds no numbers of a network")
        if not bool(torch.isfinite(value).all()):
            raise ValueError("some of its numbers are none (NaN or infinite)")
    return Weights(engine, str(tree["family"]), str(tree["size"]), names, imgsz, state)


def of_libreyolo(path: Path) -> Weights:
    """Return the weights in a checkpoint that libreyolo wrote; whatever is no tensor or plain value in it is refused.

    Raises:
        InvalidInput: it holds something else.
    """
    try:
        held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        names = tuple(str(held["names"][number]) for number in range(held["nc"]))
        return Weights("libreyolo", held["model_family"], held["size"], names, int(held["imgsz"]), held["model"])
    except (UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        first = str(error).partition("\n")[0]
        raise InvalidInput(f"{path.name}: not a checkpoint of libreyolo, or one that holds code: {first}") from error


def main() -> None:
    """Convert the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(description="Make the weights of a detector of a checkpoint of libreyolo.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    of_libreyolo(asked.checkpoint).write(asked.target)


if __name__ == "__main__":
    main()
