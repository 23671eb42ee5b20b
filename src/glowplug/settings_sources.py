"""Where settings come from: a TOML file, the environment, flags; read into any tree of frozen structs.

Nothing here knows a setting by name. The tree's fields say what exists, and their types say what is right; what is
wrong becomes one line that names the place, the value and what is expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from glowplug.errors import SettingsError

S = TypeVar("S", bound=Struct)
PREFIX = "GLOWPLUG_"
CONFIG_VARIABLE = PREFIX + "CONFIG"

Seconds = Annotated[float, Meta(ge=0, description="a time: seconds, or a number with ms, s, m, h or d (900, 15m)")]
Bytes = Annotated[int, Meta(ge=0, description="a size: bytes, or a number with KiB, MiB, GiB or TiB (1GiB)")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 0 (any free one) to 65535")]
Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Options = Annotated[dict[str, str], Meta(description="options as name=value, with commas between them")]
OptionTables = Annotated[
    dict[str, dict[str, str]], Meta(description="options as model.name=value, with commas between them")
]
Url = Annotated[str, Meta(pattern="^https?://[^/]", description="a URL that starts with http:// or https://")]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_DURATION_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_SIZE_EXPONENTS = {"k": 1, "m": 2, "g": 3, "t": 4}


class Secret:
    """A string that no log, traceback or `repr` shows; `reveal` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"


def read_settings(
    kind: type[S],
    aliases: Mapping[str, tuple[str, str]],
    env: Mapping[str, str],
    toml_path: Path | None,
    overrides: Mapping[str, Any],
) -> S:
    """Build a `kind` from its defaults, the file, the environment and the flags; the later wins.

    `aliases` maps further variables to a dotted name and to the unit that a bare number has there. `overrides` maps
    dotted names to values; None means not given. Raises `SettingsError`.
    """
    known = dict(_leaves(kind))
    said = _from_file(toml_path, known) if toml_path else {}
    said |= _from_environment(env, known, aliases)
    said |= _from_flags(overrides, known)
    values = {name: _convert(known[name].type, value) for name, value in said.items()}
    return kind(**_grouped(kind, values))


@dataclass(frozen=True, slots=True)
class _Said:
    """A value as somebody gave it, and where."""

    origin: str
    value: Any


def variable_of(name: str) -> str:
    """Return the environment variable of a setting; the gateway's go without the name of their group."""
    return PREFIX + name.removeprefix("gateway.").upper().replace(".", "_")


def _leaves(group: type[Struct], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for field in msgspec.structs.fields(group):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def _grouped(group: type[Struct], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(group):
        name = prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            given[field.name] = field.type(**_grouped(field.type, values, f"{name}."))
        elif name in values:
            given[field.name] = values[name]
    return given


def _from_file(path: Path, known: Mapping[str, FieldInfo]) -> dict[str, _Said]:
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    found = {}
    for name, value in _flattened(tables, known):
        if name not in known:
            raise SettingsError(f"{path}: there is no setting {name!r}{_hint(name, known)}")
        if isinstance(value, dict):
            value = _anchored(value, path.absolute().parent)
        elif isinstance(value, str) and _means(known[name].type, Path):
            value = _placed(value, path.absolute().parent)
        found[name] = _Said(f"{path}: {name}", value)
    return found


def _placed(value: str, folder: Path) -> str:
    # A path in a file belongs to the file, not to the folder that somebody happens to stand in.
    return str(folder / Path(value).expanduser())


def _anchored(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    placed: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            placed[key] = _anchored(value, folder)
        else:
            placed[key] = _placed(value, folder) if key.endswith("_file") and isinstance(value, str) else value
    return placed


def _flattened(table: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and any(path.startswith(f"{name}.") for path in known):
            yield from _flattened(value, known, f"{name}.")
        else:
            yield name, value


def _from_environment(
    env: Mapping[str, str], known: Mapping[str, FieldInfo], aliases: Mapping[str, tuple[str, str]]
) -> dict[str, _Said]:
    names = {**aliases, **{variable_of(name): (name, "") for name in known}}
    found: dict[str, _Said] = {}
    for variable, (name, unit) in names.items():
        value = env.get(variable, "").strip()
        secret_file = env.get(f"{variable}_FILE", "").strip() if _is_secret(known[name].type) else ""
        if secret_file:
            found[name] = _Said(f"{variable}_FILE", _read_secret(f"{variable}_FILE", Path(secret_file)))
        elif value:
            found[name] = _Said(variable, value + unit if value.replace(".", "").isdigit() else value)
    secrets = {f"{variable}_FILE" for variable, (name, _) in names.items() if _is_secret(known[name].type)}
    allowed = {*names, *secrets, CONFIG_VARIABLE}
    for variable in env:
        if variable.startswith(PREFIX) and variable not in allowed:
            raise SettingsError(f"{variable}: there is no such setting{_hint(variable, allowed)}")
    return found


def _from_flags(overrides: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> dict[str, _Said]:
    for name in overrides:
        if name not in known:
            raise SettingsError(f"there is no setting {name!r}{_hint(name, known)}")
    return {
        name: _Said(f"--{name.rpartition('.')[2].replace('_', '-')}", value)
        for name, value in overrides.items()
        if value is not None
    }


def _read_secret(origin: str, path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{origin}: cannot read {path}: {error}; point it at a readable text file") from error
    if not secret:
        raise SettingsError(f"{origin}: {path} is empty; write the token into it")
    return secret


def _convert(kind: Any, said: _Said) -> Any:
    value = said.value
    if _is_secret(kind):
        if not isinstance(value, str) or not value:
            raise SettingsError(f"{said.origin}: a token is a text of at least one character")
        return Secret(value)
    if isinstance(value, str):
        value = _parsed(kind, value)
    elif _means(kind, Options) or _means(kind, OptionTables):
        value = _with_texts(value)
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str), dec_hook=_decode)
    except (msgspec.ValidationError, TypeError) as error:
        # A table may hold a token; what is wrong with it can be said without it.
        shown = "this" if isinstance(said.value, dict) and _has_secrets(kind) else repr(said.value)
        detail = f" ({error})" if shown == "this" else ""
        raise SettingsError(f"{said.origin}: {shown} is not {_description(kind)}{detail}") from error


def _parsed(kind: Any, text: str) -> Any:
    if kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    if _means(kind, Options):
        return _options(text) or text
    if _means(kind, OptionTables):
        return _option_tables(text) or text
    if _means(kind, Seconds) and (match := _DURATION.fullmatch(text)):
        return float(match[1]) * _DURATION_UNITS[match[2] or ""]
    if _means(kind, Bytes) and (match := _SIZE.fullmatch(text)):
        unit = (match[2] or "").lower()
        base = 1024 if unit.endswith("i") or not unit else 1000
        return int(float(match[1]) * base ** _SIZE_EXPONENTS.get(unit[:1], 0))
    return text


def _options(text: str) -> dict[str, str] | None:
    """Read `name=value,name=value`; None if it is something else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        return None
    return {name.strip(): value.strip() for name, _, value in pairs}


def _option_tables(text: str) -> dict[str, dict[str, str]] | None:
    """Read `model.name=value,model.name=value`; None if it is something else."""
    tables: dict[str, dict[str, str]] = {}
    for path, value in (_options(text) or {}).items():
        model, dot, name = path.partition(".")
        if not (model and dot and name):
            return None
        tables.setdefault(model, {})[name] = value
    return tables


def _with_texts(value: Any) -> Any:
    """Return tables of options with their numbers and switches as a model's author reads them: as texts."""
    if isinstance(value, dict):
        return {name: _with_texts(inner) for name, inner in value.items()}
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _decode(kind: type, value: Any) -> Path | Secret:
    if kind is Secret and isinstance(value, str) and value:
        return Secret(value)
    if kind is not Path or not isinstance(value, (str, Path)):
        raise TypeError("expected a text")
    return Path(value).expanduser()


def _means(kind: Any, alias: Any) -> bool:
    return kind == alias or alias in get_args(kind)


def _is_secret(kind: Any) -> bool:
    return _means(kind, Secret)


def _has_secrets(kind: Any) -> bool:
    inner = [part for part in get_args(kind) if isinstance(part, type) and issubclass(part, Struct)]
    fields = [field.type for struct in inner for field in msgspec.structs.fields(struct)]
    return any(_is_secret(field) for field in fields) or any(_has_secrets(part) for part in get_args(kind))


def _description(kind: Any) -> str:
    for part in (kind, *get_args(kind)):
        metas = [meta for meta in getattr(part, "__metadata__", ()) if isinstance(meta, Meta)]
        if metas and metas[0].description:
            return metas[0].description
        if get_origin(part) is Literal:
            return f"one of {', '.join(map(str, get_args(part)))}"
    plain = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    return plain.get(kind, "a text" if kind != tuple[str, ...] else "a list of texts")


def _hint(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else "; the guide lists all settings"
