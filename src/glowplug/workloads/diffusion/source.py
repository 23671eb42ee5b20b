"""Where a pipeline and its LoRAs come from: a folder, object storage, or the Hugging Face hub.

What is a path or an address in object storage is brought and read ahead by the platform, which is told of it by
`declared`; a folder is looked over first, and only the files that the load will use are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.estimate import needed
from glowplug.workloads.diffusion.families import check_architecture
from glowplug.workloads.diffusion.headers import Header
from glowplug.workloads.diffusion.options import ImageOptions
from glowplug.workloads.diffusion.plan import Wish, preferred_bytes
from glowplug.workloads.diffusion.survey import PICKLES, SAFE, surveyed

MODEL = "model"
SUMS = "SHA256SUMS"
LORA_FILE = "pytorch_lora_weights.safetensors"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w./+-]+\.safetensors)?")
_EXAMPLES = "a pipeline folder, s3://bucket/prefix, or a hub id such as stabilityai/stable-diffusion-xl-base-1.0"

NO_SOURCE = f"images needs option source: {_EXAMPLES}"


def declared(options: ImageOptions, weights: Mapping[str, str]) -> dict[str, str]:
    """Return what the platform shall bring and read: `weights` of the class, unless the options name a source.

    Raises:
        SettingsError: there is no source, or a folder of this machine is no pipeline that can be loaded.
    """
    found = {} if options.source else dict(weights)
    if options.source:
        found.update(_of_model(options))
    elif MODEL not in weights:
        raise SettingsError(NO_SOURCE)
    for number, lora in enumerate(options.lora):
        if _ADDRESS.match(lora.source):
            found[lora_name(number)] = lora.source
        elif (path := local(lora.source)) is not None:
            found[lora_name(number)] = str(lora_file(path).absolute())
        else:
            hub_id(lora.source, "lora")
    return found


def foreseen(weights: Mapping[str, Path], options: ImageOptions) -> int | None:
    """Return the bytes that the pipeline is expected to take on a card.

    None while it is not on this machine, and where the load is free to make do with the room that it gets.
    """
    folder = weights.get(MODEL) or local(options.source)
    if folder is None or options.offload == "auto":
        return None
    survey = surveyed(folder, options.variant)
    return preferred_bytes(
        needed(survey, options.default_size), Wish(options.dtype, options.offload, options.vae_tiling)
    )


def lora_name(number: int) -> str:
    """Return the name that a LoRA has among the weights."""
    return f"lora-{number}"


def local(source: str) -> Path | None:
    """Return the path that `source` is, or None if it is a hub id or an address.

    Raises:
        SettingsError: it can only be a path, and there is nothing.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if source.startswith((".", "/", "~")):
        raise SettingsError(f"{source}: there is no such folder or file")
    return None


def hub_id(source: str, option: str = "source") -> str:
    """Return `source`, which must be a hub id. Raises `SettingsError` with what else it may be."""
    if not _HUB_ID.fullmatch(source):
        raise SettingsError(f"option {option}={source!r}: no such folder, and not a hub id; expected {_EXAMPLES}")
    return source


def lora_file(path: Path) -> Path:
    """Return the file of a LoRA, which `path` is or holds, its header read.

    Raises:
        SettingsError: it is pickled, damaged, no LoRA, or the choice is not clear.
    """
    if path.is_dir():
        path = _only_file(path)
    if path.suffix in PICKLES:
        raise SettingsError(f"{path} is pickled: pickles are never opened; {SAFE}")
    if not any("lora" in name or "hada" in name or "lokr" in name for name in Header.of(path).tensors):
        raise SettingsError(f"{path} holds no LoRA: none of its tensors is named like one")
    return path


def _only_file(folder: Path) -> Path:
    found = sorted(folder.glob("*.safetensors"))
    preferred = [path for path in found if path.name == LORA_FILE]
    if len(found) != 1 and not preferred:
        pickled = [path.name for path in sorted(folder.iterdir()) if path.suffix in PICKLES]
        if pickled and not found:
            raise SettingsError(f"{folder} holds {pickled[0]} only: pickles are never opened; {SAFE}")
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise SettingsError(f"{folder} must hold one safetensors file, or {LORA_FILE}; it holds {names}")
    return (preferred or found)[0]


def _of_model(options: ImageOptions) -> dict[str, str]:
    if _ADDRESS.match(options.source):
        return {MODEL: options.source}
    folder = local(options.source)
    if folder is None:
        hub_id(options.source)
        return {}
    survey = surveyed(folder, options.variant)
    check_architecture(survey)
    folder = folder.absolute()
    if (folder / SUMS).is_file():
        # Only the whole folder is verified against its list.
        return {MODEL: str(folder)}
    return {f"{path.parent.name}/{path.name}": str(path.absolute()) for path in survey.files}
