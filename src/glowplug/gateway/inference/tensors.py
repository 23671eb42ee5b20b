"""Tensors of the Open Inference Protocol: read from JSON or from bytes, written as either. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from glowplug.errors import InvalidInput
from glowplug.gateway.inference.shapes import RequestTensor, ResponseTensor

BYTES = "BYTES"
BOOL = "BOOL"
FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
MOST_AXES = 8
MOST_ELEMENTS = 16 * 1024 * 1024
SIZE = "binary_data_size"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """Values in the order of the last axis first; those of BYTES are bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]

    def rows(self) -> list[Any]:
        """Return one element for each place of the first axis, nested as the other axes are."""
        size = math.prod(self.shape[1:])
        return [_nested(self.values[at * size : (at + 1) * size], self.shape[1:]) for at in range(self.shape[0])]


def read(tensors: Sequence[RequestTensor], binary: bytes) -> list[Tensor]:
    """Return the tensors of a request; `binary` is what stood behind its JSON. Raises `InvalidInput`."""
    found, at = [], 0
    for tensor in tensors:
        _check(tensor)
        size = tensor.parameters.get(SIZE)
        if size is None:
            values = _from_json(tensor)
        elif isinstance(size, int) and 0 <= size <= len(binary) - at:
            values, at = _from_bytes(tensor, binary[at : at + size]), at + size
        else:
            raise _wrong(tensor.name, f"{SIZE} {size!r} is more than what follows the JSON")
        if len(values) != math.prod(tensor.shape):
            raise _wrong(tensor.name, f"the shape {tensor.shape} does not hold {len(values)} values")
        found.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), values))
    if at != len(binary):
        raise InvalidInput(f"{len(binary) - at} bytes behind the JSON belong to no tensor")
    return found


def written(tensor: Tensor) -> ResponseTensor:
    """Return a tensor with its data in JSON."""
    values = list(tensor.values)
    if tensor.datatype == BYTES:
        values = [value.decode(errors="replace") for value in values]
    return ResponseTensor(tensor.name, tensor.datatype, list(tensor.shape), values)


def packed(tensor: Tensor) -> tuple[ResponseTensor, bytes]:
    """Return a tensor without its data, and the data as bytes."""
    if tensor.datatype == BYTES:
        data = b"".join(_LENGTH.pack(len(value)) + value for value in tensor.values)
    else:
        data = struct.pack(f"<{len(tensor.values)}{FORMATS[tensor.datatype]}", *tensor.values)
    head = ResponseTensor(tensor.name, tensor.datatype, list(tensor.shape), parameters={SIZE: len(data)})
    return head, data


def _check(tensor: RequestTensor) -> None:
    if tensor.datatype != BYTES and tensor.datatype not in FORMATS:
        known = ", ".join([BYTES, *FORMATS])
        raise _wrong(tensor.name, f"no datatype {tensor.datatype[:20]!r}; there are {known}")
    if not 0 < len(tensor.shape) <= MOST_AXES or any(axis < 0 for axis in tensor.shape):
        raise _wrong(tensor.name, f"a shape has 1 to {MOST_AXES} axes of 0 or more; the first is the batch")
    # An axis of 0 holds nothing, but those before it are made all the same.
    if math.prod(max(axis, 1) for axis in tensor.shape) > MOST_ELEMENTS:
        raise _wrong(tensor.name, f"more than {MOST_ELEMENTS} values")
    if "shared_memory_region" in tensor.parameters:
        raise _wrong(tensor.name, "shared memory is not taken; send the data")


def _from_json(tensor: RequestTensor) -> list[Any]:
    data = tensor.data if isinstance(tensor.data, list) else []
    values = list(_flat(data, MOST_AXES))
    if tensor.datatype == BYTES:
        return [value.encode() if isinstance(value, str) else _mistyped(tensor, value) for value in values]
    if tensor.datatype == BOOL:
        return [value if isinstance(value, bool) else _mistyped(tensor, value) for value in values]
    kinds = (int, float) if tensor.datatype.startswith("FP") else (int,)
    return [
        value if isinstance(value, kinds) and not isinstance(value, bool) else _mistyped(tensor, value)
        for value in values
    ]


def _from_bytes(tensor: RequestTensor, data: bytes) -> list[Any]:
    if tensor.datatype == BYTES:
        return list(_strings(tensor, data))
    form = FORMATS[tensor.datatype]
    count, rest = divmod(len(data), struct.calcsize(f"<{form}"))
    if rest:
        raise _wrong(tensor.name, f"{len(data)} bytes are no whole number of {tensor.datatype}")
    return list(struct.unpack(f"<{count}{form}", data))


def _strings(tensor: RequestTensor, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        length = _LENGTH.unpack_from(data, at)[0] if start <= len(data) else len(data)
        at = start + length
        if at > len(data):
            raise _wrong(tensor.name, "the lengths of its elements do not add up")
        yield data[start:at]


def _flat(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, list) and depth:
        for item in value:
            yield from _flat(item, depth - 1)
    else:
        yield value


def _nested(values: Sequence[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return values[0]
    size = math.prod(shape[1:])
    return [_nested(values[at * size : (at + 1) * size], shape[1:]) for at in range(shape[0])]


def _mistyped(tensor: RequestTensor, value: Any) -> Any:
    raise _wrong(tensor.name, f"{str(value)[:40]!r} is no value of {tensor.datatype}")


def _wrong(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"input {name[:80]!r}: {why}", fields=[{"path": name[:80], "message": why}])
