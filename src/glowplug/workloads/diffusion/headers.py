"""The header of a safetensors file: what lies in it, and whether all of it is there. Reads a few kilobytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 100_000_000
MOST_ELEMENTS = 1 << 50
_POINTER = b"version https://git-lfs"
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its `dtype` in torch's words where it is a plain float, else in the file's own."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Return how many numbers it holds."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Say whether it holds real numbers, in however few bits."""
        return self.dtype in _FLOATS.values() or self.dtype.startswith("F")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    path: Path
    size_bytes: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, path: Path) -> Header:
        """Read the header of `path` and compare it with the length of the file.

        Raises:
            SettingsError: it is no safetensors file, or not as long as it says.
        """
        try:
            size_bytes = path.stat().st_size
            with path.open("rb") as stream:
                head = stream.read(max(LENGTH_BYTES, len(_POINTER)))
                length = int.from_bytes(head[:LENGTH_BYTES], "little")
                stream.seek(LENGTH_BYTES)
                # No more than the file has: a damaged length must not take the memory.
                text = stream.read(min(length, size_bytes, LARGEST_HEADER_BYTES))
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        if head.startswith(_POINTER):
            raise SettingsError(f"{path} is a git-lfs pointer, not the weights; run `git lfs pull` in its folder")
        if len(head) < LENGTH_BYTES or len(text) < length:
            raise SettingsError(f"{path} is no safetensors file, or cut off within its header; fetch it again")
        entries = _entries(path, text)
        expected = LENGTH_BYTES + length + max((_end(path, entry) for entry in entries.values()), default=0)
        if size_bytes != expected:
            what = "truncated" if size_bytes < expected else "damaged"
            raise SettingsError(f"{path} is {what}: it has {size_bytes} of {expected} bytes; fetch it again")
        return cls(path, size_bytes, {name: _tensor(path, entry) for name, entry in entries.items()})


def _entries(path: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no safetensors file: its header is not JSON; fetch it again") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is no safetensors file: its header is not an object; fetch it again")
    return {name: entry for name, entry in found.items() if name != "__metadata__"}


def _end(path: Path, entry: Any) -> int:
    try:
        return int(entry["data_offsets"][1])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{path} is damaged: an entry of its header has no offsets; fetch it again") from error


def _tensor(path: Path, entry: Mapping[str, Any]) -> Tensor:
    try:
        kind = str(entry["dtype"])
        tensor = Tensor(_FLOATS.get(kind, kind), tuple(int(side) for side in entry["shape"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{path} is damaged: an entry of its header has no shape; fetch it again") from error
    if not all(0 <= side <= MOST_ELEMENTS for side in tensor.shape) or tensor.elements > MOST_ELEMENTS:
        raise SettingsError(f"{path} is damaged: it says that it holds more numbers than any file; fetch it again")
    return tensor
