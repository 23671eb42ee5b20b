"""The small files beside a Whisper model, looked over before a library builds what they ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_LARGEST: Mapping[str, int] = {
    "feature_size": 1024,
    "sampling_rate": 1_000_000,
    "hop_length": 65_536,
    "n_fft": 65_536,
    "chunk_length": 3600,
}
"""What the numbers that tables are made by may be; Whisper's own are 128, 16000, 160, 400 and 30."""
_TOKENS = ("suppress_ids", "suppress_ids_begin", "lang_ids")


def check_preprocessor(folder: Path) -> None:
    """Check how recordings are to be cut and measured, where the folder says.

    Raises:
        SettingsError: a number is none that can be; the message names file and field.
    """
    path = folder / PREPROCESSOR
    if not path.exists():
        return
    for name, value in _read(path).items():
        if name in _LARGEST and not (isinstance(value, int) and 0 < value <= _LARGEST[name]):
            shown = str(value)[:40]
            raise SettingsError(f"{path}: {name} is {shown}, where 1 to {_LARGEST[name]} can be; fetch it again")


def check_tokens(folder: Path, vocabulary: int) -> None:
    """Check that the tokens that the config names are of the `vocabulary`: the library writes to memory by them.

    Raises:
        SettingsError: one is not; the message names file and field.
    """
    path = folder / CONFIG
    for name, tokens in _tokens(_read(path)):
        if not (isinstance(tokens, list) and all(isinstance(one, int) and -1 <= one < vocabulary for one in tokens)):
            raise SettingsError(f"{path}: {name} holds what is none of its {vocabulary} tokens; fetch it again")


def _tokens(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, config[name]) for name in _TOKENS if config.get(name) is not None)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is damaged: {str(error)[:200]}; fetch it again") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is damaged: it is no JSON object; fetch it again")
    return found
