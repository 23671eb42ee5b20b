"""From what a task returns to JSON. NaN and the infinities become null: JSON has no such numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from glowplug.artifact import Artifact
from glowplug.errors import TaskFailed

LARGEST_RESULT_BYTES = 32 * 1024 * 1024
_PLAIN = frozenset((str, int, float, bool, type(None)))
_KNOWN = (datetime, date, time, timedelta, Decimal, UUID)
_ENCODER = msgspec.json.Encoder()


def encoded(value: Any) -> bytes:
    """Return a task's result, or one value of its stream, as JSON.

    Artifacts become their references; dataclasses, pydantic models, enums, tuples, sets and numpy scalars become what
    one expects.

    Raises:
        TaskFailed: there is no JSON for it, or too much of it.
    """
    try:
        output = _ENCODER.encode(value if type(value) in _PLAIN else plain(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise TaskFailed(f"the result is no JSON: {error}", error_class=type(error).__name__) from error
    except RecursionError as error:
        raise TaskFailed("the result is no JSON: it contains itself", error_class="RecursionError") from error
    if len(output) > LARGEST_RESULT_BYTES:
        raise TaskFailed(
            f"the result has {len(output)} bytes, more than {LARGEST_RESULT_BYTES}; store it with ctx.save",
            error_class="ResultTooLarge",
        )
    return output


def plain(value: Any) -> Any:
    """Return `value` made of what JSON has. Raises `TypeError`, which names the type that has no place in it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return value if type(value) is list and set(map(type, value)) <= _PLAIN else [plain(item) for item in value]
    return _single(value)


def _key(key: Any) -> str:
    key = key.value if isinstance(key, Enum) else key
    if not isinstance(key, (str, int)) or isinstance(key, bool):
        raise TypeError(f"a dict key is a {_name(key)}, not a string")
    return str(key)


def _single(value: Any) -> Any:
    if isinstance(value, Artifact):
        return value.uri
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, _KNOWN):
        return value
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return plain(dump())
    return _foreign(value)


def _foreign(value: Any) -> Any:
    # Scalars of numpy, torch and their like: an array of no dimension that knows its Python value.
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return plain(value.item())
    if callable(getattr(value, "tolist", None)):
        raise TypeError(f"a {_name(value)} is in it; return value.tolist(), or store it with ctx.save")
    if isinstance(value, (bytes, bytearray, memoryview, Path)):
        raise TypeError(f"a {_name(value)} is in it; store it with ctx.save and return the Artifact")
    raise TypeError(f"a {_name(value)} is in it")


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
