"""Between tensors and a task: parameters by name, the first axis as the batch. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from glowplug.artifact import SCHEME
from glowplug.errors import InvalidInput
from glowplug.gateway.inference.shapes import ModelMetadata, RequestOutput, TensorMetadata
from glowplug.gateway.inference.tensors import BOOL, BYTES, Tensor
from glowplug.store import TaskInfo

LARGEST_BATCH = 1024
LARGEST = 2**63
OUTPUT = "output"
TASK = "task"
_SCALARS = frozenset({"string", "integer", "number", "boolean", "artifact"})
_DATATYPES = {"integer": "INT64", "number": "FP64", "boolean": BOOL}


def metadata(name: str, version: str, task: TaskInfo) -> ModelMetadata:
    """Return what the protocol tells of a task."""
    inputs = [_described(put, one, task.input_schema) for put, one in _properties(task.input_schema).items()]
    outputs = [_described(put, one, task.output_schema) for put, one in _outputs(task.output_schema).items()]
    return ModelMetadata(name, [version], "glowplug", inputs, outputs)


def inputs(task: TaskInfo, tensors: Sequence[Tensor], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the task is called with, once for each place of the first axis. Raises `InvalidInput`."""
    known = _properties(task.input_schema)
    common = {name: value for name, value in parameters.items() if name in known and name != TASK}
    count = _batch(tensors)
    columns = {}
    for tensor in tensors:
        if tensor.name not in known:
            there = ", ".join(known) or "none"
            raise _wrong(tensor.name, f"{task.name} has no such input; there are: {there}")
        kind = _kind(known[tensor.name], task.input_schema)
        column = [_element(tensor.name, row, kind) for row in tensor.rows()]
        columns[tensor.name] = column if len(column) == count else column * count
    return [{**common, **{name: column[at] for name, column in columns.items()}} for at in range(count)]


def outputs(task: TaskInfo, results: Sequence[Any], wanted: Iterable[RequestOutput]) -> list[Tensor]:
    """Return the results as tensors, those that are wanted or all. Raises `InvalidInput` for an unknown one."""
    rows = [result if isinstance(result, Mapping) else {OUTPUT: result} for result in results]
    known = _outputs(task.output_schema)
    names = list(dict.fromkeys(name for row in rows for name in row))
    chosen = [one.name for one in wanted] or names
    for name in chosen:
        if name not in names:
            raise InvalidInput(f"{task.name} has no output {name[:80]!r}; there are: {', '.join(names)}")
    return [
        _column(name, [row.get(name) for row in rows], _kind(known.get(name, {}), task.output_schema))
        for name in chosen
    ]


def _batch(tensors: Sequence[Tensor]) -> int:
    """Return the length of the first axis; tensors of length one go with every place."""
    if not tensors:
        raise InvalidInput("there are no inputs")
    counts = {tensor.shape[0] for tensor in tensors} - {1} or {1}
    if len(counts) > 1:
        raise InvalidInput(f"the first axis is the batch: the inputs have {_list(counts)} places of it")
    count = counts.pop()
    if not 0 < count <= LARGEST_BATCH:
        raise InvalidInput(f"a batch has 1 to {LARGEST_BATCH} places, not {count}")
    return count


def _element(name: str, row: Any, kind: str) -> Any:
    if kind in _SCALARS:
        value = _only(name, row)
        return _file(value) if kind == "artifact" and isinstance(value, bytes) else _text(name, value)
    if kind == "array":
        return _texts(name, row)
    value = _only(name, row)
    if not isinstance(value, bytes):
        return value
    try:
        return msgspec.json.decode(value)
    # NaN and half characters are no JSON, and could not be told to the worker.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(name, f"JSON is expected in each element: {error}") from error


def _only(name: str, row: Any) -> Any:
    while isinstance(row, list):
        if len(row) != 1:
            raise _wrong(name, "one value is expected for each place of the batch: the shape is [N] or [N, 1]")
        row = row[0]
    return row


def _text(name: str, value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise _wrong(name, "its text is no UTF-8") from error


def _texts(name: str, value: Any) -> Any:
    return [_texts(name, item) for item in value] if isinstance(value, list) else _text(name, value)


def _file(value: bytes) -> str:
    """Return a reference or data URL as it is, and bytes of a file as a data URL."""
    if value.startswith((SCHEME.encode(), b"data:")):
        return value.decode(errors="replace")
    return "data:application/octet-stream;base64," + base64.b64encode(value).decode()


def _column(name: str, values: list[Any], kind: str) -> Tensor:
    shape = _shape(values)
    flat = _flattened(values, len(shape)) if shape else []
    datatype = _datatype(flat, kind) if shape else None
    if shape is None or datatype is None:
        texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
        return Tensor(name, BYTES, (len(values),), [text.encode() for text in texts])
    if datatype == BYTES:
        return Tensor(name, BYTES, shape, [value.encode() for value in flat])
    return Tensor(name, datatype, shape, [float(value) for value in flat] if datatype == "FP64" else flat)


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of nested lists, None if they are ragged."""
    if not isinstance(value, list):
        return ()
    inner = {_shape(item) for item in value}
    if None in inner or len(inner) > 1:
        return None
    below = inner.pop() if inner else ()
    return None if below is None else (len(value), *below)


def _flattened(value: Any, axes: int) -> list[Any]:
    return [leaf for item in value for leaf in _flattened(item, axes - 1)] if axes else [value]


def _datatype(flat: Sequence[Any], kind: str) -> str | None:
    """Return the datatype that holds all the values, None if none does."""
    types = {type(value) for value in flat}
    if types == {str}:
        return BYTES
    if types == {bool}:
        return BOOL
    if not types or not types <= {int, float} or any(abs(value) >= LARGEST for value in flat if type(value) is int):
        return None
    return "INT64" if types == {int} and kind != "number" else "FP64"


def _described(name: str, schema: Any, root: Mapping[str, Any]) -> TensorMetadata:
    kind, axes = _kind(schema, root), 1
    while kind == "array":
        schema, axes = _resolved(schema, root).get("items", {}), axes + 1
        kind = _kind(schema, root)
    return TensorMetadata(name, _DATATYPES.get(kind, BYTES), [-1] * axes)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _outputs(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return _properties(_resolved(schema, schema)) or {OUTPUT: schema}


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema itself: of alternatives the first that is not null, of a reference what it stands for."""
    if not isinstance(schema, Mapping):
        return {}
    for other in schema.get("anyOf", ()):
        if isinstance(other, Mapping) and other.get("type") != "null":
            return _resolved(other, root)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return target if isinstance(target, Mapping) else {}
    return schema


def _kind(schema: Any, root: Mapping[str, Any]) -> str:
    found = _resolved(schema, root)
    if found.get("format") == "artifact":
        return "artifact"
    # A choice of words has no type of its own.
    return str(found.get("type", "string" if "enum" in found or "const" in found else ""))


def _list(counts: Iterable[int]) -> str:
    return " and ".join(str(count) for count in sorted(counts))


def _wrong(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"input {name[:80]!r}: {why}", fields=[{"path": name[:80], "message": why}])
