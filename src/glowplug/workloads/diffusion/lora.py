"""LoRAs attached to a pipeline and melted into its weights, so that they cost nothing at a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.errors import SettingsError

ADAPTER = "lora"


@dataclass(frozen=True, slots=True)
class Lora:
    """The file of a LoRA, and how strongly it acts."""

    path: Path
    scale: float


def attach(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Add `loras` to the weights of `pipeline`, one after the other.

    Raises:
        SettingsError: one is not made for this pipeline; the message names it.
    """
    if loras and not hasattr(pipeline, "load_lora_weights"):
        raise SettingsError(f"option lora: a {type(pipeline).__name__} takes no LoRAs")
    for lora in loras:
        _load(pipeline, lora.path)
        pipeline.set_adapters([ADAPTER], [lora.scale])
        pipeline.fuse_lora(adapter_names=[ADAPTER])
        pipeline.unload_lora_weights()


def _load(pipeline: Any, path: Path) -> None:
    told = f"{path} is no LoRA for this {type(pipeline).__name__}"
    try:
        pipeline.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            adapter_name=ADAPTER,
            local_files_only=True,
            use_safetensors=True,
        )
    except Exception as error:  # what the library stumbles over lies in the file
        raise SettingsError(f"{told}: {' '.join(str(error).split())[:300]}") from error
    if not any(ADAPTER in adapters for adapters in pipeline.get_list_adapters().values()):
        raise SettingsError(f"{told}: none of its tensors belongs to a network here")
