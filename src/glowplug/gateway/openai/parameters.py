"""What a task's schema says of its parameters, and the values that fit them. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from glowplug.errors import InvalidInput
from glowplug.store import TaskInfo

_FALSE = frozenset({"false", "0", "no", "off"})
_TRUE = frozenset({"true", "1", "yes", "on"})


def knows(task: TaskInfo, name: str) -> bool:
    """Say whether the task has a parameter of this name."""
    return name in _properties(task)


def extras(task: TaskInfo, body: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Return the fields of a body, but for those `taken`, that the task has parameters for."""
    known = _properties(task)
    return {name: value for name, value in body.items() if name in known and name not in taken and value is not None}


def typed(task: TaskInfo, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a form as what the task's schema wants: a form has texts alone."""
    known = _properties(task)
    return {name: _typed(value, known.get(name, {}), task.input_schema) for name, value in texts.items()}


def choices(task: TaskInfo, name: str) -> list[str]:
    """Return the words that a parameter takes, none where it takes any."""
    kinds = _kinds(_properties(task).get(name, {}), task.input_schema)
    return [word for kind in kinds for word in kind.get("enum", [kind["const"]] if "const" in kind else [])]


def number(text: Any) -> float:
    """Return the number in a field of a form. Raises `ValueError`, and for what JSON could not hold."""
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text} is no number of JSON")
    return found


def wrong(parameter: str, why: str) -> InvalidInput:
    """Return the error for a parameter of the caller's."""
    return InvalidInput(f"{parameter}: {why}", fields=[{"path": parameter, "message": why}])


def _properties(task: TaskInfo) -> Mapping[str, Any]:
    found = task.input_schema.get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _kinds(schema: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a schema, what it refers to, and its alternatives."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    reference = str(schema.get("$ref", ""))
    named = [root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))] if reference else []
    for other in (*schema.get("anyOf", ()), *named):
        yield from _kinds(other, root)


def _typed(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    types = {kind.get("type") for kind in _kinds(schema, root)}
    try:
        if "integer" in types:
            return int(value)
        if "number" in types:
            return number(value)
    except ValueError:
        return value
    word = value.strip().lower()
    if "boolean" in types and word in _TRUE | _FALSE:
        return word in _TRUE
    return value
