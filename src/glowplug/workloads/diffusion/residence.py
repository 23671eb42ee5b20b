"""Where a loaded model lies: on its device, or asleep in host memory."""

from __future__ import annotations

import gc
import math
from typing import Any

import torch

from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.placing import place

WARM_UP_PIXELS = 64


def to_host(loaded: Loaded) -> None:
    """Move what lies on a card to host memory; what is offloaded lies there already."""
    if _stays_on_card(loaded):
        for network in networks_of(loaded.generate):
            network.to("cpu")
        free_card()


def to_device(loaded: Loaded) -> None:
    """Move back what `to_host` moved away."""
    if _stays_on_card(loaded):
        place(networks_of(loaded.generate), loaded.device, _as_it_is, _unheard)


def free_card() -> None:
    """Give back to the device what nobody holds any more."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def warm_up_pixels(loaded: Loaded) -> int:
    """Return the size of the first picture: what jobs will ask for where that is quick, else a small one."""
    if _stays_on_card(loaded):
        return loaded.pixels
    return min(loaded.pixels, math.lcm(WARM_UP_PIXELS, loaded.multiple))


def networks_of(pipeline: Any) -> list[Any]:
    """Return the components of `pipeline` that have weights."""
    return [one for one in pipeline.components.values() if isinstance(one, torch.nn.Module)]


def _stays_on_card(loaded: Loaded) -> bool:
    if torch.device(loaded.device).type != "cuda":
        return False
    return not any(
        hasattr(module, "_hf_hook") for network in networks_of(loaded.generate) for module in network.modules()
    )


def _as_it_is(network: Any, name: str, tensor: Any) -> Any:
    del network, name
    return tensor.dtype


def _unheard(done: int, total: int) -> None:
    del done, total
