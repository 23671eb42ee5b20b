"""Trees of tensors and plain values in one safetensors file: opening one runs no code, unlike a pickle.

Dicts, lists, texts, numbers, None and tensors may be nested as they like. The tensors lie in the file as such; the
rest is JSON in its metadata, with the place of each tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from glowplug.errors import InvalidInput

KEY = "glowplug"
_TENSOR, _ITEMS = "$tensor", "$items"
_STRANGE = "these are tensors of something else, not a file that detector.train writes"
_FOREIGN = {b"PK": "a zip (as torch.save writes it)", b"\x80": "a pickle"}


def write(path: Path, tree: Mapping[str, Any]) -> None:
    """Write `tree`; tensors that share memory are written apart."""
    tensors: dict[str, torch.Tensor] = {}
    shape = _packed(tree, tensors)
    save_file(tensors, path, {KEY: json.dumps(shape)})


def read(path: Path, parameter: str) -> dict[str, Any]:
    """Return the tree in a file that came as the parameter of that name.

    Raises:
        InvalidInput: it is another kind of file, or broken.
    """
    with path.open("rb") as stream:
        start = stream.read(2)
    for magic, kind in _FOREIGN.items():
        if start.startswith(magic):
            raise InvalidInput(
                f"{parameter}: {kind} may run code when it is opened, so it is not; make a safetensors file of it with "
                "`python -m glowplug.workloads.detection.weights FILE.pt FILE.safetensors`; detector.infer also takes "
                "what `yolo export model=FILE.pt format=onnx` makes of one of Ultralytics' own",
                fields=[parameter],
            )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if KEY not in metadata:
                raise InvalidInput(f"{parameter}: {_STRANGE}{_some(file.keys())}", fields=[parameter])
            shape = json.loads(metadata[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tree = _unpacked(shape, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{parameter}: not a file that detector.train writes, or cut off: {error}", fields=[parameter]
        ) from error
    if not isinstance(tree, dict):
        raise InvalidInput(f"{parameter}: not a file that detector.train writes", fields=[parameter])
    return tree


def _some(names: Sequence[str]) -> str:
    """Return the name of one of the tensors, by which people may know what they sent."""
    return f" (it holds {min(names)[:80]!r})" if names else ""


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {_ITEMS: [[key, _packed(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_packed(item, tensors) for item in value]
    return value


def _unpacked(shape: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(shape, list):
        return [_unpacked(item, tensors) for item in shape]
    if not isinstance(shape, dict):
        return shape
    if _TENSOR in shape:
        return tensors[shape[_TENSOR]]
    return {key: _unpacked(item, tensors) for key, item in shape[_ITEMS]}
