"""FLUX.1 and SDXL in their published sizes: the real networks without weights, and the survey of a folder of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glowplug.workloads.diffusion.headers import Header, Tensor
from glowplug.workloads.diffusion.survey import Component, Survey

_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 1024,
}


def _clip(kind: Any, width: int, layers: int, heads: int) -> Any:
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=49408,
        projection_dim=width,
    )
    return kind(config)


def _t5() -> Any:
    config = transformers.T5Config(
        d_model=4096,
        d_ff=10240,
        d_kv=64,
        num_heads=64,
        num_layers=24,
        vocab_size=32128,
        feed_forward_proj="gated-gelu",
    )
    return transformers.T5EncoderModel(config)


def _unet() -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=128,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
    )


_MADE: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "FluxPipeline": {
        "transformer": lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True),
        "text_encoder": lambda: _clip(transformers.CLIPTextModel, 768, 12, 12),
        "text_encoder_2": _t5,
        "vae": lambda: diffusers.AutoencoderKL(
            latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, **_VAE
        ),
    },
    "StableDiffusionXLPipeline": {
        "unet": _unet,
        "text_encoder": lambda: _clip(transformers.CLIPTextModel, 768, 12, 12),
        "text_encoder_2": lambda: _clip(transformers.CLIPTextModelWithProjection, 1280, 32, 20),
        "vae": lambda: diffusers.AutoencoderKL(latent_channels=4, **_VAE),
    },
}


def networks(pipeline: str) -> dict[str, Any]:
    """Build the networks of a pipeline where tensors have a shape and no numbers."""
    with torch.device("meta"):
        return {name: make().eval() for name, make in _MADE[pipeline].items()}


def survey_of(pipeline: str, made: Mapping[str, Any], dtype: str) -> Survey:
    """Return what is found in a folder of these networks, saved in `dtype`."""
    parts = {name: _component(name, network, dtype) for name, network in made.items()}
    return Survey(Path("published"), pipeline, parts, (), {})


def _component(name: str, network: Any, dtype: str) -> Component:
    # Tied weights are one tensor of the file.
    tensors = {key: Tensor(dtype, tuple(value.shape)) for key, value in network.named_parameters()}
    config = network.config if isinstance(network.config, Mapping) else network.config.to_dict()
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    header = Header(Path(name) / "weights.safetensors", 0, tensors)
    library = type(network).__module__.partition(".")[0]
    return Component(name, library, type(network).__name__, Path(name), plain, headers=(header,))


def placed_bytes(network: Any, type_of: Callable[[Any, str, Any], Any]) -> int:
    """Return what a network takes once its tensors have the types that they are placed in."""
    tensors = chain(network.named_parameters(), network.named_buffers())
    return sum(tensor.numel() * type_of(network, name, tensor).itemsize for name, tensor in tensors)


@contextmanager
def parts_counted() -> Iterator[list[int]]:
    """Count the layers and parameters that networks are built of inside the block."""
    counted = [0]

    def count(*part: Any) -> None:
        del part
        counted[0] += 1

    module = torch.nn.modules.module
    hooks = (
        module.register_module_parameter_registration_hook(count),
        module.register_module_module_registration_hook(count),
    )
    yield counted
    for hook in hooks:
        hook.remove()


class _Alive(TorchDispatchMode):
    """Counts the numbers of all tensors that are alive but the weights, and the most that were at once."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self._weights = weights
        self._holders: dict[int, int] = {}
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is None or storage._cdata in self._weights:
                continue
            # A view shares the numbers of another tensor.
            key, elements = storage._cdata, storage.nbytes() // 4
            if key not in self._holders:
                self._now += elements
                self.peak = max(self.peak, self._now)
            self._holders[key] = self._holders.get(key, 0) + 1
            weakref.finalize(tensor, self._let_go, key, elements)
        return made

    def _let_go(self, key: int, elements: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._now -= elements


def peak_elements(network: Any, call: Callable[[Any], Any]) -> int:
    """Return how many numbers of 4 bytes are alive at once while `call` runs the network, its weights aside.

    Attention is taken to hold no more than its result, as the kernels of cards do.
    """
    weights = {tensor.untyped_storage()._cdata for tensor in chain(network.parameters(), network.buffers())}
    attention = "torch.nn.functional.scaled_dot_product_attention"
    lean = patch(attention, lambda query, *more, **options: torch.empty_like(query))
    with torch.no_grad(), lean, _Alive(weights) as alive:
        call(network)
    return alive.peak
