"""One pass of a pipeline: some pictures of an order, step by step; it may be stopped and gone on with at any step."""

from __future__ import annotations

import copy
import functools
import inspect
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glowplug.errors import Interrupted, InvalidInput, TaskFailed
from glowplug.model import RunContext
from glowplug.workloads.diffusion.latents import Midway, Place, Unstorable, state_of
from glowplug.workloads.diffusion.order import LARGEST_SEED
from glowplug.workloads.diffusion.previews import Previews
from glowplug.workloads.diffusion.replay import standing_still

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints; a job that is shorter writes one only when it is interrupted."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the passes of an order have in common.

    `arguments` are the pipeline's; those in `repeated` are given once for each picture. `seed` is that of the first of
    `count` pictures.
    """

    pipeline: Any
    arguments: Mapping[str, Any]
    repeated: Mapping[str, Any]
    seed: int
    count: int

    def seeds(self, first: int, count: int) -> list[int]:
        """Return the seeds of `count` pictures from number `first` on."""
        return [(self.seed + number) % (LARGEST_SEED + 1) for number in range(first, first + count)]


class Keeper:
    """Writes the checkpoints of a job, now and then. `files` are the finished pictures, which go along."""

    def __init__(self, ctx: RunContext, order: str, seed: int, files: list[bytes]) -> None:
        self._ctx = ctx
        self._order = order
        self._seed = seed
        self._files = files
        self._able = True
        self._kept_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Say whether the last checkpoint is old."""
        return self._able and time.monotonic() - self._kept_at >= CHECKPOINT_SECONDS

    def keep(self, number: int, step: int, latents: Tensor, chances: list[torch.Generator], scheduler: Any) -> None:
        """Write a checkpoint; `number` counts all steps of the job, `step` those of the pictures under way.

        Raises:
            TaskFailed: the latents are no numbers any more.
        """
        checked(latents, "latents")
        place = Place(self._order, self._seed, len(self._files), len(chances), step)
        states = tuple(chance.get_state() for chance in chances)
        midway = Midway(place, latents, states, state_of(scheduler), tuple(self._files))
        try:
            self._ctx.checkpoint(number, midway.save)
        except Unstorable as error:
            self._able = False
            self._ctx.log(f"no checkpoints: {error}; after an interruption the job begins anew")
        self._kept_at = time.monotonic()


class Pass:
    """Draws `count` pictures from number `first` on, going on from `midway` if there is one."""

    def __init__(self, drawing: Drawing, first: int, count: int, midway: Midway | None = None) -> None:
        self._drawing = drawing
        self._first = first
        self._count = count
        self._midway = midway
        self._skipped = midway.place.step if midway is not None else 0
        self._chances = [torch.Generator().manual_seed(seed) for seed in drawing.seeds(first, count)]
        self._still = ExitStack()

    def run(self, ctx: RunContext, keeper: Keeper, previews: Previews) -> Tensor:
        """Return the pictures (count, 3, height, width), in 0..1.

        Raises:
            TaskFailed: they are no numbers.
            InvalidInput: the model's own safety checker held one back.
        """
        pipeline = _own(self._drawing.pipeline, self._chances)
        repeated = {name: [value] * self._count for name, value in self._drawing.repeated.items()}
        after_step = functools.partial(self._after_step, ctx, keeper, previews)
        try:
            with self._still:
                if self._skipped:
                    self._still.enter_context(standing_still(pipeline))
                drawn = pipeline(
                    **self._drawing.arguments,
                    **repeated,
                    num_images_per_prompt=self._count,
                    generator=self._chances,
                    callback_on_step_end=after_step,
                    output_type="pt",
                )
            return checked(_passed(drawn).images, "pictures")
        except BaseException:
            # Weights that were brought to the device for this pass go back to where they wait.
            pipeline.maybe_free_model_hooks()
            raise
        finally:
            vars(pipeline.scheduler).pop("step", None)

    def _after_step(
        self,
        ctx: RunContext,
        keeper: Keeper,
        previews: Previews,
        pipeline: Any,
        number: int,
        timestep: Any,
        values: dict[str, Any],
    ) -> dict[str, Any]:
        """Do what there is to do after a step of diffusers' loop, which counts them from 0."""
        del timestep
        step = number + 1
        if step <= self._skipped:
            return self._going_on(pipeline, values) if step == self._skipped else values
        steps = _length(pipeline)
        latents = values["latents"]
        preview = previews.preview(latents) if step < steps else None
        done, total = self._first * steps + step * self._count, self._drawing.count * steps
        ctx.progress(done, total, self._note(step, steps), preview)
        try:
            ctx.check()
        except Interrupted:
            keeper.keep(done, step, latents, self._chances, pipeline.scheduler)
            raise
        if keeper.due and step < steps:
            keeper.keep(done, step, latents, self._chances, pipeline.scheduler)
        return values

    def _going_on(self, pipeline: Any, values: dict[str, Any]) -> dict[str, Any]:
        """Put the saved state in the place of what stood still."""
        self._still.close()
        midway, self._midway = self._midway, None
        if midway is not None:
            vars(pipeline.scheduler).update(midway.scheduler)
            for chance, state in zip(self._chances, midway.chances, strict=True):
                chance.set_state(state)
            values["latents"] = midway.latents
        return values

    def _note(self, step: int, steps: int) -> str:
        note = f"step {step} of {steps}"
        if self._drawing.count == 1:
            return note
        first, last = self._first + 1, self._first + self._count
        which = f"picture {first}" if first == last else f"pictures {first} to {last}"
        return f"{note}, {which} of {self._drawing.count}"


def checked(values: Tensor, what: str) -> Tensor:
    """Return `values`.

    Raises:
        TaskFailed: some of them are no numbers.
    """
    if not bool(torch.isfinite(values).all()):
        told = f"the model's {what} are not numbers (NaN or infinite)"
        raise TaskFailed(f"{told}; a load with dtype=bfloat16 or float32 may mend it, or other weights")
    return values


def _passed(drawn: Any) -> Any:
    """Return what was drawn, unless a safety checker blackened some of it."""
    if any(getattr(drawn, "nsfw_content_detected", None) or ()):
        told = "the model's safety checker held a picture back; change the prompt, or try another seed"
        raise InvalidInput(told, fields=["prompt"])
    return drawn


def _own(pipeline: Any, chances: list[torch.Generator]) -> Any:
    """Return the pipeline for one pass: the same networks, a scheduler and settings of its own."""
    own = copy.copy(pipeline)
    scheduler = copy.deepcopy(pipeline.scheduler)
    vars(own)["scheduler"] = scheduler
    own.set_progress_bar_config(disable=True)
    if "generator" in inspect.signature(scheduler.step).parameters:
        # FLUX does not hand it on, and a scheduler that adds noise would take it from wherever.
        scheduler.step = functools.partial(scheduler.step, generator=chances)
    return own


def _length(pipeline: Any) -> int:
    return int(getattr(pipeline, "num_timesteps", 0) or len(pipeline.scheduler.timesteps))
