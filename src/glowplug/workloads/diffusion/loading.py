"""A pipeline brought into memory: looked over, planned, opened, placed, and made ready to draw."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from glowplug.errors import OutOfMemory, SettingsError
from glowplug.load_context import LoadContext
from glowplug.workloads.diffusion import hub
from glowplug.workloads.diffusion.devices import device_of, room_on, use
from glowplug.workloads.diffusion.estimate import Need, needed, vae_factor
from glowplug.workloads.diffusion.families import check_architecture, denoiser_of, family_of
from glowplug.workloads.diffusion.loaded import Family, Loaded
from glowplug.workloads.diffusion.lora import Lora
from glowplug.workloads.diffusion.opening import be_quiet, imported
from glowplug.workloads.diffusion.options import ImageOptions
from glowplug.workloads.diffusion.pipelines import Kin, built
from glowplug.workloads.diffusion.plan import Plan, Wish, in_words, pixels_at_once, planned
from glowplug.workloads.diffusion.source import MODEL, NO_SOURCE, hub_id, local, lora_file, lora_name
from glowplug.workloads.diffusion.survey import Survey, surveyed

READ_BYTES = 8 << 20
UNET_MULTIPLE = 8


def prepare(options: ImageOptions) -> None:
    """Import what the pipeline is made of, if its folder is here already.

    Raises:
        SettingsError: the folder is no pipeline that the installed libraries can load.
    """
    be_quiet()
    if options.source and (folder := local(options.source)) is not None:
        survey = surveyed(folder, options.variant)
        check_architecture(survey)
        imported(survey)


def load(ctx: LoadContext, options: ImageOptions) -> Loaded:
    """Load the pipeline that `options` name, or that the platform brought, to `ctx.device`.

    Raises:
        SettingsError: it is not there, is no pipeline, or does not fit; told before anything large is moved.
        Unavailable: there is no such device.
        OutOfMemory: the device had less room than it said.
        Unreachable: the hub does not answer.
    """
    be_quiet()
    if options.threads:
        torch.set_num_threads(options.threads)
    folder, from_hub = _folder(ctx, options)
    survey = surveyed(folder, options.variant)
    check_architecture(survey)
    loras = [Lora(_lora_path(ctx, number, one.source), one.scale) for number, one in enumerate(options.lora)]
    with ctx.stage("import"):
        imported(survey)
    device = device_of(ctx.device)
    use(device)
    need = _need(survey, options)
    plan = _plan(ctx, options, need, device)
    print(f"images: {survey.kind}, {in_words(sum(one.size_bytes for one in survey.networks))} of files: {plan.words()}")
    if from_hub:
        with ctx.stage("read"):
            _read(survey.files, _bytes_told(ctx))
    return _loaded(built(ctx, survey, plan, loras, device), survey, options, plan, need, device)


def _plan(ctx: LoadContext, options: ImageOptions, need: Need, device: str) -> Plan:
    wish = Wish(options.dtype, options.offload, options.vae_tiling)
    try:
        return planned(need, room_on(device, ctx.room_bytes), wish)
    except SettingsError as error:
        if ctx.room_bytes is None:
            raise
        # The device is shared: with the others asleep there may be more room another time.
        raise OutOfMemory(error.message, error_class="no room") from error


def _folder(ctx: LoadContext, options: ImageOptions) -> tuple[Path, bool]:
    """Return the pipeline's folder, and whether it is from the hub: then nobody has read it ahead."""
    if MODEL in ctx.weights:
        return ctx.weights[MODEL], False
    if not options.source:
        raise SettingsError(NO_SOURCE)
    folder = local(options.source)
    if folder is not None:
        return folder, False
    with ctx.stage("fetch"):
        told = _bytes_told(ctx)
        return hub.pipeline_folder(hub_id(options.source), options.revision, options.variant, told), True


def _lora_path(ctx: LoadContext, number: int, source: str) -> Path:
    brought = ctx.weights.get(lora_name(number)) or local(source)
    if brought is None:
        with ctx.stage("fetch"):
            brought = hub.lora_path(hub_id(source, "lora"), _bytes_told(ctx))
    return lora_file(brought)


def _bytes_told(ctx: LoadContext) -> Callable[[float, float | None], None]:
    return lambda done, total: ctx.progress(done, total, unit="bytes")


def _read(files: Sequence[Path], told: Callable[[float, float | None], None]) -> None:
    """Read files once, so that their pages are in memory when they are placed."""
    total, done = sum(path.stat().st_size for path in files), 0
    buffer = memoryview(bytearray(READ_BYTES))
    for path in files:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                done += count
                told(done, total)


def _need(survey: Survey, options: ImageOptions) -> Need:
    need, multiple = needed(survey, options.default_size), _multiple(survey)
    if need.pixels % multiple:
        nearest = max(multiple, round(need.pixels / multiple) * multiple)
        told = f"option default_size={need.pixels}: this model draws multiples of {multiple}, such as {nearest}"
        raise SettingsError(told)
    return need


def _multiple(survey: Survey) -> int:
    factor = vae_factor(survey.components.get("vae"))
    return factor * 2 if denoiser_of(survey).name == "transformer" else math.lcm(factor, UNET_MULTIPLE)


def _loaded(kin: Kin, survey: Survey, options: ImageOptions, plan: Plan, need: Need, device: str) -> Loaded:
    generate, edit, inpaint = kin
    family = family_of(survey)
    steps, guidance, negative = _defaults(family, generate)
    if guidance is not None and options.guidance is not None:
        guidance = options.guidance
    return Loaded(
        family=family,
        generate=generate,
        edit=edit,
        inpaint=inpaint,
        device=device,
        dtype=plan.dtype,
        pixels=need.pixels,
        multiple=_multiple(survey),
        steps=options.steps or steps,
        guidance=guidance,
        negative=negative,
        metadata=options.metadata,
        preview_seconds=options.preview_seconds,
        pixels_at_once=pixels_at_once(need, plan),
        # What "schnell" was distilled with.
        prompt_tokens=256 if family == "flux" and guidance is None else 512,
        title=_title(options, survey),
        loras=tuple(f"{one.source}@{one.scale:g}" for one in options.lora),
    )


def _title(options: ImageOptions, survey: Survey) -> str:
    return options.source.rstrip("/").rpartition("/")[2] or survey.folder.name


def _defaults(family: Family, generate: Any) -> tuple[int, float | None, bool]:
    """Return steps, guidance and whether negative prompts are known, as the model's makers advise."""
    if family == "flux":
        # The kin without guidance, such as "schnell", are distilled to four steps.
        return (28, 3.5, False) if generate.transformer.config.guidance_embeds else (4, None, False)
    if family == "sdxl":
        return 30, 5.0, True
    known = inspect.signature(generate.__call__).parameters
    steps = known["num_inference_steps"].default if "num_inference_steps" in known else 30
    guidance = known["guidance_scale"].default if "guidance_scale" in known else None
    return steps, guidance, "negative_prompt" in known
