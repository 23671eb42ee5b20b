"""The pipelines of one model: opened, placed as planned, sharing their modules."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import diffusers
import torch

from glowplug.errors import OutOfMemory, SettingsError
from glowplug.load_context import LoadContext
from glowplug.workloads.diffusion.estimate import TILE_PIXELS
from glowplug.workloads.diffusion.families import KIN, family_of
from glowplug.workloads.diffusion.loaded import Family
from glowplug.workloads.diffusion.lora import Lora, attach
from glowplug.workloads.diffusion.opening import opened, pipeline_class, type_of
from glowplug.workloads.diffusion.placing import place
from glowplug.workloads.diffusion.plan import Plan
from glowplug.workloads.diffusion.residence import free_card, networks_of
from glowplug.workloads.diffusion.survey import Survey

Kin = tuple[Any, Any | None, Any | None]
"""Pipelines that draw from words, from a picture, and into a mask."""
_AUTO = ("AutoPipelineForText2Image", "AutoPipelineForImage2Image", "AutoPipelineForInpainting")


def built(ctx: LoadContext, survey: Survey, plan: Plan, loras: Sequence[Lora], device: str) -> Kin:
    """Return the pipelines of `survey`, placed as `plan` says.

    Raises:
        SettingsError: a component or a LoRA is not what it should be.
        OutOfMemory: there was less room than the device said; what was taken is given back.
    """
    try:
        return _built(ctx, survey, plan, loras, device)
    except (torch.OutOfMemoryError, MemoryError) as error:
        free_card()
        told = f"no room while loading ({plan.words()}); free memory, or set option offload or dtype"
        raise OutOfMemory(told, error_class=type(error).__name__) from error


def _built(ctx: LoadContext, survey: Survey, plan: Plan, loras: Sequence[Lora], device: str) -> Kin:
    with ctx.stage("open"):
        parts = opened(survey, plan.dtype, lambda done, total: ctx.progress(done, total, unit="components"))
        base = _put_together(survey, parts)
    with ctx.stage("to device"):
        target = device if plan.offload == "none" else "cpu"
        told = functools.partial(ctx.progress, unit="bytes")
        place(networks_of(base), target, type_of(plan.dtype), told)
    if loras:
        with ctx.stage("lora"):
            attach(base, loras)
    _save_memory(base, plan)
    kin = _kin(base, family_of(survey))
    present = [one for one in kin if one is not None]
    for one in present:
        one.set_progress_bar_config(disable=True)
    _offload(present, plan, device)
    return kin


def _put_together(survey: Survey, parts: dict[str, Any]) -> Any:
    try:
        return _made(pipeline_class(survey), {**survey.settings, **parts})
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        why = " ".join(str(error).split())[:300]
        raise SettingsError(f"{survey.folder} cannot be put together as a {survey.kind}: {why}") from error


def _made(kind: Any, given: dict[str, Any]) -> Any:
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in known})


def _kin(base: Any, family: Family) -> Kin:
    if family == "other":
        generate, edit, inpaint = _found_kin(base)
        return generate or base, edit, inpaint
    given = {**base.config, **base.components}
    generate, edit, inpaint = (
        base if type(base) is kind else _made(kind, given)
        for kind in (getattr(diffusers, name) for name in KIN[family])
    )
    return generate, edit, inpaint


def _found_kin(base: Any) -> Kin:
    with warnings.catch_warnings():
        # Its import brings every pipeline there is, and what they have to say.
        warnings.simplefilter("ignore")
        autos = [getattr(diffusers, name) for name in _AUTO]
    generate, edit, inpaint = (_resolved(auto, base) for auto in autos)
    return generate, edit, inpaint


def _resolved(auto: Any, base: Any) -> Any | None:
    try:
        return auto.from_pipe(base)
    except (ValueError, KeyError):
        # Diffusers knows none of that kind for this pipeline.
        return None


def _save_memory(base: Any, plan: Plan) -> None:
    vae: Any = getattr(base, "vae", None)
    if hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
    if plan.tiled and hasattr(vae, "enable_tiling"):
        vae.enable_tiling()
        if hasattr(vae, "tile_latent_min_size"):
            # By default a tile is as large as the pictures that the VAE was trained on, which saves nothing.
            factor = max(1, vae.tile_sample_min_size // vae.tile_latent_min_size)
            vae.tile_sample_min_size, vae.tile_latent_min_size = TILE_PIXELS, TILE_PIXELS // factor


def _offload(pipelines: Sequence[Any], plan: Plan, device: str) -> None:
    if plan.offload == "sequential":
        # The hooks sit in the modules, which the others share.
        pipelines[0].enable_sequential_cpu_offload(device=device)
    if plan.offload == "model":
        for pipeline in pipelines:
            pipeline.enable_model_cpu_offload(device=device)
