"""What a task returned, as lines for people: files by where they were saved, the rest in as few words as it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_LIST = 12


def result_lines(output: Any, saved: Mapping[str, str]) -> list[str]:
    """Return the lines; `saved` maps the references of files to their paths.

    A text stands as it is, an object has a line for each name that has a value, and what is deeper than that is JSON.
    A file that the output does not mention comes last.
    """
    named = _with_paths(output, saved)
    if isinstance(named, dict) and named:
        width = max(map(len, named))
        said = [(key, value) for key, value in named.items() if value is not None]
        lines = [line for key, value in said for line in _labelled(key.ljust(width), _texts(value))]
    else:
        lines = [] if named is None else _texts(named)
    told = set(_leaves(named))
    return [*lines, *(path for path in saved.values() if path not in told)]


def _with_paths(value: Any, saved: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return saved.get(value, value)
    if isinstance(value, dict):
        return {str(key): _with_paths(one, saved) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_paths(one, saved) for one in value]
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.splitlines() or [""]
    if isinstance(value, list) and 0 < len(value) <= LONGEST_LIST and all(isinstance(one, str) for one in value):
        return [line for one in value for line in _texts(one)]
    return [_json(value)]


def _labelled(label: str, texts: Sequence[str]) -> list[str]:
    return [f"{label if number == 0 else ' ' * len(label)}  {text}" for number, text in enumerate(texts)]


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value] if isinstance(value, str) else []


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value, enc_hook=str).decode()
