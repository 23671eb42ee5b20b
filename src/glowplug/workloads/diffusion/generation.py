"""From an order to finished pictures: drawn in passes that fit, encoded, saved; gone on with where it was stopped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from glowplug.errors import Corrupt
from glowplug.model import RunContext
from glowplug.workloads.diffusion.assignment import Assignment, to_edit, to_generate, to_inpaint
from glowplug.workloads.diffusion.latents import Midway
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.metadata import encoded
from glowplug.workloads.diffusion.order import LARGEST_SEED, EditOrder, InpaintOrder, Order, Pictures
from glowplug.workloads.diffusion.previews import Previews, colour_map
from glowplug.workloads.diffusion.prompts import unread
from glowplug.workloads.diffusion.replay import denoiser_of
from glowplug.workloads.diffusion.steps import Drawing, Keeper, Pass

ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


def generate(ctx: RunContext, loaded: Loaded, order: Order) -> Pictures:
    """Draw pictures from words."""
    return Session(ctx, loaded, to_generate(loaded, order)).pictures()


def edit(ctx: RunContext, loaded: Loaded, order: EditOrder) -> Pictures:
    """Draw pictures anew, as far as the order's strength says."""
    return Session(ctx, loaded, to_edit(loaded, order)).pictures()


def inpaint(ctx: RunContext, loaded: Loaded, order: InpaintOrder) -> Pictures:
    """Paint into pictures where their masks say."""
    return Session(ctx, loaded, to_inpaint(loaded, order)).pictures()


class Session:
    """One job from its beginning, or from its last checkpoint, to the saved pictures."""

    def __init__(self, ctx: RunContext, loaded: Loaded, assignment: Assignment) -> None:
        self._ctx = ctx
        self._loaded = loaded
        self._assignment = assignment

    def pictures(self) -> Pictures:
        """Draw and save what is left to draw, and return all.

        Raises:
            TaskFailed: the model's numbers are none.
        """
        self._ctx.check()
        mark = self._assignment.fingerprint(self._loaded)
        midway = self._left(mark)
        seed = self._seed() if midway is None else midway.place.seed
        files = self._drawn(mark, seed, midway)
        order, size = self._assignment.order, self._assignment.size
        ending = ENDINGS[order.format]
        saved = [self._ctx.save(f"image-{number:02}.{ending}", data) for number, data in enumerate(files, start=1)]
        return Pictures(
            [artifact.uri for artifact in saved],
            seed,
            self._assignment.steps,
            self._assignment.guidance,
            *size,
            unread(self._assignment.pipeline, order.prompt, self._assignment.prompt_tokens),
        )

    def _seed(self) -> int:
        asked = self._assignment.order.seed
        return secrets.randbelow(LARGEST_SEED) if asked is None else asked

    def _left(self, mark: str) -> Midway | None:
        """Return what an earlier attempt left of this order, None if there is nothing of use."""
        resumed = self._ctx.resume()
        if resumed is None or denoiser_of(self._assignment.pipeline) is None:
            return None
        try:
            midway = Midway.read(resumed.path, self._loaded.device)
        except Corrupt as error:
            self._ctx.log(f"begun anew: {error}")
            return None
        if midway.place.order != mark:
            self._ctx.log("begun anew: the checkpoint is of another order, or of another model")
            return None
        self._ctx.log(f"went on after {midway.place.finished} pictures and {midway.place.step} steps of the next")
        return midway

    def _drawn(self, mark: str, seed: int, midway: Midway | None) -> list[bytes]:
        """Return the files of all pictures."""
        assignment, count = self._assignment, self._assignment.order.count
        drawing = Drawing(assignment.pipeline, assignment.arguments, assignment.pictures, seed, count)
        files = list(midway.files) if midway is not None else []
        keeper = Keeper(self._ctx, mark, seed, files)
        previews = self._previews()
        at_once = self._at_once() if midway is None else midway.place.at_once
        while len(files) < count:
            together = min(at_once, count - len(files))
            try:
                pixels = Pass(drawing, len(files), together, midway).run(self._ctx, keeper, previews)
            except torch.OutOfMemoryError:
                if together == 1:
                    raise
                at_once = together // 2
            else:
                files.extend(self._encoded(pixels, drawing.seeds(len(files), together)))
            midway = None
        return files

    def _at_once(self) -> int:
        width, height = self._assignment.size
        return max(1, self._loaded.pixels_at_once // (width * height))

    def _previews(self) -> Previews:
        pipeline, (width, height) = self._assignment.pipeline, self._assignment.size
        seconds = self._loaded.preview_seconds
        if self._loaded.family == "other" and hasattr(pipeline, "_unpack_latents"):
            # Packed in a way of its own, which nobody looked at.
            seconds = 0

        def unpacked(latents: Tensor) -> Tensor:
            if latents.ndim == 4:
                return latents
            whole: Tensor = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)  # noqa: SLF001
            return whole

        return Previews(colour_map(pipeline.vae) if seconds > 0 else None, seconds, unpacked)

    def _encoded(self, pixels: Tensor, seeds: list[int]) -> Iterator[bytes]:
        order, told = self._assignment.order, self._assignment.order.metadata
        tells = self._loaded.metadata if told is None else told
        shown = (pixels.permute(0, 2, 3, 1).float() * 255).round().to(torch.uint8).cpu().numpy()
        for seed, picture in zip(seeds, shown, strict=True):
            facts = self._assignment.facts(self._loaded, seed) if tells else None
            yield encoded(self._assignment.finish(Image.fromarray(picture)), order.format, facts)
