"""The options of the `images` model, read and checked before anything heavy happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from glowplug.errors import SettingsError
from glowplug.workloads.option_values import refuse_unknown

DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("auto", "none", "model", "sequential")
SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
LEAST_SIZE, LARGEST_SIZE = 8, 8192
LARGEST_SCALE = 100.0

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class LoraOption:
    """One LoRA: where it is, and how strongly it acts."""

    source: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What an operator can say of the model; None and "auto" leave the choice to us."""

    source: str = ""
    revision: str | None = None
    variant: str | None = None
    dtype: str = "auto"
    offload: str = "auto"
    vae_tiling: bool | None = None
    lora: tuple[LoraOption, ...] = ()
    default_size: int | None = None
    steps: int | None = None
    guidance: float | None = None
    metadata: bool = True
    preview_seconds: float = 1.0
    threads: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> ImageOptions:
        """Read the options as they are written in the settings.

        Raises:
            SettingsError: one is unknown or wrong; the message names it and what is allowed.
        """
        refuse_unknown(given, cls.__slots__, "images")
        return cls(
            source=given.get("source", "").strip(),
            revision=given.get("revision") or None,
            variant=given.get("variant") or None,
            dtype=_one_of(given, "dtype", DTYPES),
            offload=_one_of(given, "offload", OFFLOADS),
            vae_tiling=None if given.get("vae_tiling", "auto") == "auto" else _switch(given, "vae_tiling", on=False),
            lora=tuple(_lora(entry.strip()) for entry in given.get("lora", "").split(",") if entry.strip()),
            default_size=_number(given, "default_size", int, LEAST_SIZE, LARGEST_SIZE),
            steps=_number(given, "steps", int, 1, 500),
            guidance=_number(given, "guidance", float, 0.0, 100),
            metadata=_switch(given, "metadata", on=True),
            preview_seconds=_or(_number(given, "preview_seconds", float, 0.0, 3600), 1.0),
            threads=_or(_number(given, "threads", int, 0, 1024), 0),
        )


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = given.get(name, allowed[0])
    if value not in allowed:
        raise SettingsError(f"option {name}={value!r}: one of {', '.join(allowed)} is expected")
    return value


def _switch(given: Mapping[str, str], name: str, *, on: bool) -> bool:
    value = given.get(name)
    if value is None:
        return on
    if value.lower() not in SWITCH:
        raise SettingsError(f"option {name}={value!r}: on or off is expected")
    return SWITCH[value.lower()]


def _number(given: Mapping[str, str], name: str, kind: Callable[[str], T], least: float, most: float) -> T | None:
    if name not in given:
        return None
    what = "a whole number" if isinstance(least, int) else "a number"
    try:
        value = kind(given[name])
    except ValueError as error:
        raise SettingsError(f"option {name}={given[name]!r}: {what} is expected") from error
    if not least <= value <= most:
        raise SettingsError(f"option {name}={given[name]!r}: {what} from {least:g} to {most:g} is expected")
    return value


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _lora(entry: str) -> LoraOption:
    """Read `source` or `source@scale`."""
    source, at, scale = entry.rpartition("@")
    if not at:
        return LoraOption(entry)
    try:
        value = float(scale)
    except ValueError:
        return LoraOption(entry)
    if not source or not abs(value) <= LARGEST_SCALE:
        raise SettingsError(f"option lora={entry!r}: source@scale is expected, the scale up to {LARGEST_SCALE:g}")
    return LoraOption(source, value)
