"""What a pipeline will take, told from its headers and configs before anything is loaded. Pure.

The allowances for activations are numbers alive at once in the widest place of a network. Traced through the published
networks without weights, 18 widths are alive in FLUX.1's transformer, 16 in SDXL's U-Net and 3 in their decoders; the
rest is for what the kernels of a card take. With it SDXL comes to about 15 GiB and FLUX.1 to about 36 GiB at 1024
pixels, as users commonly tell. On a card it was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.families import KEPT_FLOAT32, PREFERRED, denoiser_of, family_of
from glowplug.workloads.diffusion.survey import CONFIG, Component, Survey

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
TILE_PIXELS = 512
DEFAULT_PIXELS = 512
TEXT_TOKENS = 512
TRANSFORMER_WIDTHS = 24
UNET_WIDTHS = 48
DECODER_WIDTHS = 9


@dataclass(frozen=True, slots=True)
class Part:
    """One network: how many numbers its weights are, and how many of them the largest tensor holds.

    What is marked `float32` runs so instead of in float16; of any other, so many numbers as `kept_elements` says.
    """

    name: str
    elements: int
    largest: int = 0
    float32: bool = False
    kept_elements: int = 0

    def weights_bytes(self, dtype: str) -> int:
        """Return what its weights take in `dtype`."""
        kept = self.kept_elements if dtype == "float16" and not self.float32 else 0
        return (self.elements - kept) * BYTES[self.kept(dtype)] + kept * BYTES["float32"]

    def kept(self, dtype: str) -> str:
        """Return the type that it really runs in where float16 overflows in it."""
        return "float32" if self.float32 and dtype == "float16" else dtype


@dataclass(frozen=True, slots=True)
class Need:
    """What one picture of `pixels` takes: the parts, and the numbers alive in a step and while the VAE decodes.

    `file_dtype` is what most of the files hold, `prefers` the half type that the family needs for sound pictures.
    """

    parts: tuple[Part, ...]
    denoiser: str
    decoder: str
    pixels: int
    step_elements: int
    decode_elements: int
    file_dtype: str | None = None
    prefers: str | None = None

    def weights_bytes(self, dtype: str) -> int:
        """Return what all weights take in `dtype`."""
        return sum(part.weights_bytes(dtype) for part in self.parts)

    def working_bytes(self, dtype: str, *, tiled: bool) -> dict[str, int]:
        """Return what the part that steps and the part that decodes take beside their weights."""
        decoder = next((part for part in self.parts if part.name == self.decoder), None)
        decode = self.decode_elements * BYTES[decoder.kept(dtype) if decoder else dtype]
        if tiled and self.pixels > TILE_PIXELS:
            decode = decode * TILE_PIXELS**2 // self.pixels**2
        return {self.denoiser: self.step_elements * BYTES[dtype], self.decoder: decode}


def needed(survey: Survey, pixels: int | None) -> Need:
    """Return the need of one picture of `pixels` each way, None being what the pipeline was made for.

    Raises:
        SettingsError: a size in a config is none; the message names it.
    """
    denoiser = denoiser_of(survey)
    vae = survey.components.get("vae")
    factor = vae_factor(vae)
    side = pixels or own_pixels(denoiser, factor)
    return Need(
        parts=tuple(_part(component) for component in survey.networks),
        denoiser=denoiser.name,
        decoder="vae",
        pixels=side,
        step_elements=_step(denoiser, side // factor),
        decode_elements=side * side * 2 * _first(vae, "block_out_channels", 128) * DECODER_WIDTHS,
        file_dtype=survey.dtype,
        prefers=PREFERRED.get(family_of(survey)),
    )


def vae_factor(vae: Component | None) -> int:
    """Return how many pixels each way one latent stands for."""
    channels = vae.config.get("block_out_channels") if vae else None
    return 2 ** (len(channels) - 1) if isinstance(channels, list) and channels else 8


def own_pixels(denoiser: Component, factor: int) -> int:
    """Return the width and height that the network was made for."""
    size = denoiser.config.get("sample_size")
    if not isinstance(size, int) or size < 1:
        # FLUX.1 and its kin name none; diffusers draws them with 128 latents each way.
        size = 128 if denoiser.kind.startswith("Flux") else DEFAULT_PIXELS // factor
    return size * factor


def _part(component: Component) -> Part:
    upcasts = component.kind.startswith("AutoencoderKL") and bool(component.config.get("force_upcast", True))
    kept = KEPT_FLOAT32.get(component.kind, frozenset())
    kept_elements = sum(one.elements for name, one in component.tensors.items() if kept.intersection(name.split(".")))
    return Part(component.name, component.elements, component.largest, upcasts, kept_elements)


def _step(denoiser: Component, latents: int) -> int:
    config = denoiser.config
    if "num_attention_heads" in config and "attention_head_dim" in config and "block_out_channels" not in config:
        hidden = _size(denoiser, "num_attention_heads") * _size(denoiser, "attention_head_dim")
        # Latents are taken two by two, whether the network does it or the pipeline before it.
        return ((latents // 2) ** 2 + TEXT_TOKENS) * hidden * TRANSFORMER_WIDTHS
    # Twice, for guidance runs with the prompt and without it.
    return latents * latents * _first(denoiser, "block_out_channels", 320) * UNET_WIDTHS * 2


def _first(component: Component | None, name: str, default: int) -> int:
    value = component.config.get(name) if component else None
    return _whole(component, name, value[0]) if component and isinstance(value, list) and value else default


def _size(component: Component, name: str) -> int:
    return _whole(component, name, component.config[name])


def _whole(component: Component, name: str, value: Any) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise SettingsError(f"{component.folder / CONFIG}: {name} holds {str(value)[:40]!r}, where a size is expected")
