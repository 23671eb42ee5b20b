"""LoRAs attached to a pipeline and melted into its weights, so that they cost nothing at a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Lora:
    """The file of a LoRA, and how strongly it acts."""

    path: Path
    scale: float


def attach(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Add `loras` to the weights of `pipeline`.

    Raises:
        SettingsError: one is not made for this pipeline; the message names it.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise SettingsError(f"option lora: a {type(pipeline).__name__} takes no LoRAs")
    names = [f"lora_{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        _load(pipeline, name, lora.path)
    pipeline.set_adapters(names, [lora.scale for lora in loras])
    pipeline.fuse_lora(adapter_names=names)
    pipeline.unload_lora_weights()


def _load(pipeline: Any, name: str, path: Path) -> None:
    told = f"{path} is no LoRA for this {type(pipeline).__name__}"
    try:
        pipeline.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            adapter_name=name,
            local_files_only=True,
            use_safetensors=True,
        )
    except Exception as error:  # what the library stumbles over lies in the file
        raise SettingsError(f"{told}: {' '.join(str(error).split())[:300]}") from error
    if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
        raise SettingsError(f"{told}: none of its tensors belongs to a network here")
