"""The families of pipelines: how each is told from its index, and by what its weights are known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from glowplug.errors import SettingsError
from glowplug.workloads.diffusion.loaded import Family
from glowplug.workloads.diffusion.survey import Component, Survey

KIN: Mapping[Family, tuple[str, str, str]] = {
    "flux": ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    "sdxl": ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
}
"""The classes that draw from words, from a picture, and into a mask."""
PREFERRED: Mapping[Family, str] = {"flux": "bfloat16"}
"""FLUX.1 overflows in float16, and draws black."""
KEPT_FLOAT32: Mapping[str, frozenset[str]] = {"T5EncoderModel": frozenset({"wo"})}
"""For a class: parts of the names of tensors that it holds in float32 where it runs in float16, for they overflow."""
_DENOISERS = ("transformer", "unet", "prior")

Config = Mapping[str, Any]
_Sides = Callable[[Config], tuple[int | None, ...]]


def _product(*factors: Any) -> int | None:
    product = 1
    for factor in factors:
        if not isinstance(factor, int):
            return None
        product *= factor
    return product


def _first(value: Any) -> int | None:
    return value[0] if isinstance(value, list) and value else None


_WITNESSES: Mapping[str, tuple[tuple[str, ...], _Sides]] = {
    "FluxTransformer2DModel": (
        ("x_embedder.weight",),
        lambda config: (
            _product(config.get("num_attention_heads"), config.get("attention_head_dim")),
            config.get("in_channels"),
        ),
    ),
    "UNet2DConditionModel": (
        ("conv_in.weight",),
        lambda config: (_first(config.get("block_out_channels")), config.get("in_channels")),
    ),
    "AutoencoderKL": (
        ("decoder.conv_in.weight",),
        lambda config: (None, config.get("latent_channels")),
    ),
    "CLIPTextModel": (
        ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight"),
        lambda config: (config.get("vocab_size"), config.get("hidden_size")),
    ),
    "CLIPTextModelWithProjection": (
        ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight"),
        lambda config: (config.get("vocab_size"), config.get("hidden_size")),
    ),
    "T5EncoderModel": (
        ("shared.weight", "encoder.embed_tokens.weight"),
        lambda config: (config.get("vocab_size"), config.get("d_model")),
    ),
}
"""For a class: a tensor that its weights must have, and the first sides that its config gives it; None is any."""


def family_of(survey: Survey) -> Family:
    """Return the family of a pipeline: one that is tested, or `other`."""
    return next((family for family, kinds in KIN.items() if survey.kind in kinds), "other")


def denoiser_of(survey: Survey) -> Component:
    """Return the network that runs at every step. Raises `SettingsError` if there is none."""
    for name in _DENOISERS:
        if name in survey.components:
            return survey.components[name]
    raise SettingsError(f"{survey.folder}: a {survey.kind} has neither transformer nor unet, so it draws no images")


def check_architecture(survey: Survey) -> None:
    """Compare each network's config with a tensor of its weights.

    Raises:
        SettingsError: the weights are those of another network; the message names the file.
    """
    _check_channels(survey)
    for component in survey.networks:
        if component.kind in _WITNESSES:
            _check(component)


def _check_channels(survey: Survey) -> None:
    denoiser, vae = denoiser_of(survey), survey.components.get("vae")
    if denoiser.kind != "UNet2DConditionModel" or vae is None:
        return
    takes, gives = denoiser.config.get("in_channels"), vae.config.get("latent_channels")
    if takes != gives:
        told = f"{denoiser.folder} takes {takes} channels where the VAE gives {gives}"
        raise SettingsError(f"{told}: it is made for one kind of editing only and cannot draw; use the base model")


def _check(component: Component) -> None:
    names, sides = _WITNESSES[component.kind]
    told = f"{component.files[0]} does not hold the weights of the {component.kind} in config.json beside it"
    tensor = next((component.tensors[name] for name in names if name in component.tensors), None)
    if tensor is None:
        raise SettingsError(f"{told}: {names[0]} is missing; take both from one model")
    expected = sides(component.config)
    if any(side not in (None, given) for side, given in zip(expected, tensor.shape, strict=False)):
        shape = " x ".join("?" if side is None else str(side) for side in expected)
        given = " x ".join(str(side) for side in tensor.shape[: len(expected)])
        raise SettingsError(f"{told}: {names[0]} is {given} where {shape} is expected; take both from one model")
