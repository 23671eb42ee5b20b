"""A picture in the making as a file: everything that the rest of the job depends on, in safetensors and JSON.

That is the latents, the scheduler with its history, the sources of chance, and the pictures that are finished by now.
Reading one runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glowplug.errors import Corrupt

LAYOUT = 1
_HEAD = "midway"
_CONFIG = "_internal_dict"
"""A scheduler's settings, which are the model's and not the call's."""

Tensors = dict[str, Tensor]


class Unstorable(TypeError):
    """The scheduler keeps something that is neither number, text nor tensor; its jobs begin anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands: `finished` pictures are done, and `step` steps of the next `at_once` ones.

    `order` is a fingerprint: a checkpoint belongs to one order on one model.
    """

    order: str
    seed: int
    finished: int
    at_once: int
    step: int


@dataclass(frozen=True, slots=True)
class Midway:
    """A place, and what is needed to go on from there. `files` are the finished pictures as they are to be saved."""

    place: Place
    latents: Tensor
    chances: tuple[Tensor, ...]
    scheduler: Mapping[str, Any]
    files: tuple[bytes, ...] = ()

    def save(self, path: Path) -> None:
        """Write it to `path`.

        Raises:
            Unstorable: something in the scheduler's state is no plain value.
        """
        tensors: Tensors = {}
        latents = _packed(self.latents, "latents", tensors)
        tensors |= {f"chance.{number}": state for number, state in enumerate(self.chances)}
        tensors |= {f"file.{number}": _bytes_tensor(data) for number, data in enumerate(self.files)}
        state = {name: _packed(value, f"scheduler.{name}", tensors) for name, value in self.scheduler.items()}
        head = {"layout": LAYOUT, "place": asdict(self.place), "latents": latents, "scheduler": state}
        save_file(tensors, path, {_HEAD: json.dumps(head)})

    @classmethod
    def read(cls, path: Path, device: str) -> Midway:
        """Return what `save` wrote, its tensors where they were: on the CPU, or else on `device`.

        Raises:
            Corrupt: it is something else, cut off, or of another layout.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                head = json.loads((file.metadata() or {}).get(_HEAD, "{}"))
            return cls._of(head, tensors, device)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"not a checkpoint of a picture: {path.name}: {error}") from error

    @classmethod
    def _of(cls, head: Mapping[str, Any], tensors: Tensors, device: str) -> Midway:
        if head.get("layout") != LAYOUT:
            raise ValueError(f"its layout is {head.get('layout')!r}, not {LAYOUT}")
        place = Place(**head["place"])
        scheduler = {name: _unpacked(value, tensors, device) for name, value in head["scheduler"].items()}
        files = tuple(tensors[f"file.{number}"].numpy().tobytes() for number in range(place.finished))
        chances = tuple(tensors[f"chance.{number}"] for number in range(place.at_once))
        return cls(place, _unpacked(head["latents"], tensors, device), chances, scheduler, files)


def state_of(scheduler: Any) -> dict[str, Any]:
    """Return all that a scheduler keeps between steps."""
    return {name: value for name, value in vars(scheduler).items() if name != _CONFIG and not callable(value)}


def _packed(value: Any, name: str, tensors: Tensors) -> Any:
    """Return `value` as JSON, its tensors put into `tensors` under names that begin with `name`."""
    # Asked first: some of NumPy's numbers are Python's too, but take part in sums differently.
    if isinstance(value, (np.ndarray, np.generic)):
        tensors[name] = torch.from_numpy(np.array(value))
        return {"array": name, "scalar": isinstance(value, np.generic)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        tensors[name] = _detached(value)
        return {"tensor": name, "strides": value.stride(), "device": value.device.type}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_packed(one, f"{name}.{number}", tensors) for number, one in enumerate(value)]}
    raise Unstorable(f"{name} is a {type(value).__name__}")


def _unpacked(value: Any, tensors: Tensors, device: str) -> Any:
    match value:
        case {"array": name, "scalar": scalar}:
            array = tensors[name].numpy()
            return array[()] if scalar else array
        case {"tensor": name, "strides": strides, "device": kind}:
            return _laid_out(tensors[name], strides).to("cpu" if kind == "cpu" else device)
        case {"list": values}:
            return [_unpacked(one, tensors, device) for one in values]
        case {"tuple": values}:
            return tuple(_unpacked(one, tensors, device) for one in values)
        case dict():
            raise ValueError("the scheduler's state is not readable")
        case _:
            return value


def _detached(value: Tensor) -> Tensor:
    # A copy: the file format refuses tensors that share memory, as a scheduler's history may.
    return value.detach().to("cpu", copy=True).contiguous()


def _laid_out(value: Tensor, strides: list[int]) -> Tensor:
    """Return a copy with its numbers in the order in memory that they had: kernels sum in that order."""
    if 0 in strides:
        # One number stood in many places, as `expand` does it: that cannot be written to.
        return value.clone()
    return torch.empty_strided(value.shape, strides, dtype=value.dtype).copy_(value)


def _bytes_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
