"""Pipelines and LoRAs of the Hugging Face hub: safetensors and configs only, resumed where a download broke off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import huggingface_hub
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from glowplug.errors import SettingsError
from glowplug.workloads import hub_words
from glowplug.workloads.diffusion.survey import INDEX, SAFE, read_json, surveyed

CONFIGS = (".json", ".txt", ".model", ".jinja")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")

Told = Callable[[float, float | None], None]
"""Hears of bytes brought, and of how many there are."""


def pipeline_folder(hub_id: str, revision: str | None, variant: str | None, told: Told) -> Path:
    """Return the local folder of a hub pipeline, bringing what is missing.

    Raises:
        SettingsError: the hub has no such pipeline, wants a token for it, or has it in pickles only.
        Unreachable: the hub does not answer, and the pipeline was never brought.
        DiskFull: there is no room for it.
    """
    with hub_words.in_our_words(hub_id, holds="pipeline of diffusers"):
        index = Path(huggingface_hub.hf_hub_download(hub_id, INDEX, revision=revision))
        try:
            names = huggingface_hub.list_repo_files(hub_id, revision=revision)
        except Exception as error:  # noqa: BLE001 - its network errors share no base, and are raised again
            return _brought_before(index.parent, variant, error)
        wanted = wanted_files(names, [name for name in read_json(index) if not name.startswith("_")], variant)
        if not any(name.endswith(".safetensors") for name in wanted):
            raise SettingsError(f"{hub_id} holds no safetensors: pickles are never opened; {SAFE}")
        return Path(_snapshot(hub_id, revision, wanted, told))


def lora_path(source: str, told: Told) -> Path:
    """Return the local file or folder of a hub LoRA: `owner/name`, or `owner/name/file.safetensors`.

    Raises:
        SettingsError: the hub has no such LoRA, or has it in pickles only.
        Unreachable: the hub does not answer, and the LoRA was never brought.
        DiskFull: there is no room for it.
    """
    owner, name, *inner = source.split("/")
    hub_id, file = f"{owner}/{name}", "/".join(inner)
    with hub_words.in_our_words(source, holds="LoRA"):
        if file:
            return Path(huggingface_hub.hf_hub_download(hub_id, file))
        return Path(_snapshot(hub_id, None, ["*.safetensors"], told))


def wanted_files(names: Iterable[str], components: Sequence[str], variant: str | None) -> list[str]:
    """Return which files of a repository a load needs: no pickles, no second copies, of each component one variant."""
    wanted, weights = [INDEX], dict[str, dict[str, list[str]]]()
    for name in names:
        folder, slash, file = name.partition("/")
        if not slash or "/" in file or folder not in components:
            continue
        if file.endswith(CONFIGS):
            wanted.append(name)
        elif file.endswith(".safetensors"):
            weights.setdefault(folder, {}).setdefault(_variant_of(file), []).append(name)
    for variants in weights.values():
        chosen = next((one for one in (variant or "", "", *sorted(variants)) if one in variants), "")
        wanted += variants[chosen]
    return wanted


def _variant_of(file: str) -> str:
    """Return `fp16` for `model.fp16-00001-of-00002.safetensors`, "" for a plain file."""
    return _SHARD.sub("", file.removesuffix(".safetensors")).partition(".")[2]


def _brought_before(folder: Path, variant: str | None, error: Exception) -> Path:
    """Return `folder` if all of it came earlier, so that a hub that is away stops nobody."""
    try:
        surveyed(folder, variant)
    except SettingsError:
        raise error from None
    return folder


def _snapshot(hub_id: str, revision: str | None, wanted: list[str], told: Told) -> str:
    return str(
        huggingface_hub.snapshot_download(
            hub_id, revision=revision, allow_patterns=wanted, tqdm_class=_telling(told), max_workers=4
        )
    )


def _telling(told: Told) -> type[Any]:
    """Return a progress bar that is not drawn but told: of the bytes on the disk, where the library counts them."""

    class Telling(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            self._counts = options.get("unit") == "B" and not str(options.get("desc", "")).startswith("Downloading")
            super().__init__(*args, **{**options, "file": StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            moved: bool | None = super().update(n)
            if self._counts:
                told(self.n, self.total or None)
            return moved

    return Telling
