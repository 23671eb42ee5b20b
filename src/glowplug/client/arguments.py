"""From words on a command line to a task's input, by the task's JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glowplug.errors import InvalidInput

_REFERENCES = ("artifact:", "data:")
_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def parse_arguments(words: Iterable[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input that `key=value` words stand for; a key that is given more than once makes a list.

    `key=@path` is a file to upload, left as a `Path`, and where the schema has none, what stands in the file. `@@`
    begins a text that begins with `@`. Inside JSON `"@path"` is a file where the schema has one. Raises
    `InvalidInput`, which names the word and what is expected.
    """
    given: dict[str, list[str]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{word!r} is not key=value; write for example prompt='a seven', or image=@picture.png")
        given.setdefault(key, []).append(text)
    properties = schema.get("properties", {})
    if properties:
        _refuse_unknown(given, properties)
    return {key: _argument(key, texts, properties.get(key, {}), schema) for key, texts in given.items()}


def expected(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Say in a word what a parameter takes: `integer`, `png|jpeg`, `@FILE`, `list of string`, `{name, prefix}`."""
    kinds = [kind for kind in _kinds(schema, root) if kind.get("type") != "null"]
    return "|".join(dict.fromkeys(_word(kind, root) for kind in kinds)) or "value"


def _word(kind: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "enum" in kind or "const" in kind:
        return "|".join(str(choice) for choice in kind.get("enum", [kind.get("const")]))
    if kind.get("format") == "artifact":
        return "@FILE"
    if kind.get("type") == "array":
        return f"list of {expected(kind.get('items', {}), root)}"
    if kind.get("properties"):
        return f"{{{', '.join(kind['properties'])}}}"
    return str(kind.get("format") or kind.get("type") or "value")


def _refuse_unknown(given: Iterable[str], properties: Mapping[str, Any]) -> None:
    for key in given:
        if key not in properties:
            raise InvalidInput(f"the task has no parameter {key!r}; it takes: {', '.join(properties)}")


def _argument(key: str, texts: list[str], schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    kinds = _kinds(schema, root)
    if len(texts) > 1 or (kinds and all(kind.get("type") == "array" for kind in kinds)):
        items: Mapping[str, Any] = next((kind.get("items", {}) for kind in kinds if kind.get("type") == "array"), {})
        if len(texts) == 1 and texts[0].lstrip().startswith("["):
            return _with_files(key, _json(key, texts[0], "a JSON list"), schema, root)
        parts = texts if len(texts) > 1 else texts[0].split(",")
        return [_single(key, part.strip(), items, root) for part in parts]
    return _single(key, texts[0], schema, root)


def _single(key: str, text: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    kinds = _kinds(schema, root)
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        path = _file(key, text)
        if not kinds or any(kind.get("format") == "artifact" for kind in kinds):
            return path
        text = _contents(key, path)
    types = [kind.get("type") for kind in kinds]
    if not types or None in types:
        return _guess(text)
    if text == "null" and "null" in types:
        return None
    for kind in types:
        if kind in _READERS and (read := _READERS[kind](text)) is not None:
            return read
    if "string" in types:
        _refuse_bare_path(key, text, kinds)
        return text
    if "object" in types:
        return _with_files(key, _json(key, text, "a JSON object"), schema, root)
    raise InvalidInput(f"{key}: {text!r} is not {' or '.join(_WORDS.get(str(kind), str(kind)) for kind in types)}")


def _refuse_bare_path(key: str, text: str, kinds: Iterable[Mapping[str, Any]]) -> None:
    """Raise for a path without its @, which a task that takes a file would find no reference."""
    strings = [kind.get("format") for kind in kinds if kind.get("type") == "string"]
    if set(strings) == {"artifact"} and not text.startswith(_REFERENCES):
        raise InvalidInput(f"{key}: the task takes a file there: {key}=@{text} uploads it")


def _file(key: str, text: str) -> Path:
    path = Path(text[1:]).expanduser()
    if not path.is_file():
        raise InvalidInput(f"{key}: there is no file {path}")
    return path


def _contents(key: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{key}: the task takes a text there, and {path} is none (not UTF-8)") from error
    except OSError as error:
        raise InvalidInput(f"{key}: {path} cannot be read: {error.strerror}") from error


def _with_files(key: str, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return a JSON value with the files in it as paths; a text that begins with @ anywhere else stays a text."""
    for kind in _kinds(schema, root):
        if isinstance(value, str) and value.startswith("@") and kind.get("format") == "artifact":
            return _file(key, value)
        if isinstance(value, list) and "items" in kind:
            return [_with_files(key, one, kind["items"], root) for one in value]
        if isinstance(value, dict) and "properties" in kind:
            inner = kind["properties"]
            return {name: _with_files(f"{key}.{name}", one, inner.get(name, {}), root) for name, one in value.items()}
    return value


def _kinds(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the plain schemas that a value may meet: references followed, alternatives side by side."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _kinds(root.get("$defs", {}).get(name, {}), root)
    if "anyOf" in schema:
        return [kind for choice in schema["anyOf"] for kind in _kinds(choice, root)]
    if "enum" in schema and "type" not in schema:
        return [{"type": "string"}]
    return [schema] if schema else []


def _boolean(text: str) -> bool | None:
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _guess(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(key: str, text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{key}: not {what}: {error}") from error


_READERS = {"integer": _integer, "number": _number, "boolean": _boolean}
_WORDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list"}
