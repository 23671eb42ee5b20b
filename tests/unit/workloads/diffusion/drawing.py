"""A tiny model with all three pipelines, and jobs on it that may be stopped anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
from PIL import Image
from tests.models.pipelines import flux_pipeline, sdxl_pipeline
from tests.unit.workloads.contexts import Remembering

from glowplug.errors import Interrupted
from glowplug.model import Resumed
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.model import Images
from glowplug.workloads.diffusion.order import Pictures

SIDE = 32
STEPS = 3
TOKENS = 96
SOURCE = Image.radial_gradient("L").resize((SIDE, SIDE)).convert("RGB")
MASK = Image.new("L", (SIDE, SIDE))
MASK.paste(255, (8, 8, 24, 24))
TASKS: dict[str, dict[str, Any]] = {
    "generate": {},
    "edit": {"image": SOURCE, "strength": 0.9},
    "inpaint": {"image": SOURCE, "mask": MASK, "strength": 0.9},
}


def loaded_flux(scheduler: Any = None, seed: int = 0) -> Loaded:
    """Return a tiny FLUX; it draws 32 x 32 pixels unless asked otherwise."""
    drawn = flux_pipeline(seed, scheduler=scheduler)
    edited, painted = diffusers.FluxImg2ImgPipeline.from_pipe(drawn), diffusers.FluxInpaintPipeline.from_pipe(drawn)
    return Loaded(
        "flux",
        drawn,
        edited,
        painted,
        "cpu",
        "float32",
        SIDE,
        4,
        STEPS,
        3.5,
        negative=False,
        prompt_tokens=TOKENS,
        title="tiny-flux",
    )


def loaded_sdxl(scheduler: Any = None, seed: int = 0) -> Loaded:
    """Return a tiny SDXL, likewise."""
    drawn = sdxl_pipeline(seed, scheduler=scheduler, channels=(16, 32))
    edited = diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(drawn)
    painted = diffusers.StableDiffusionXLInpaintPipeline.from_pipe(drawn)
    return Loaded("sdxl", drawn, edited, painted, "cpu", "float32", SIDE, 2, STEPS, 5.0, title="tiny-sdxl")


def model(loaded: Loaded, **changes: Any) -> Images:
    """Return the model as a load leaves it."""
    images = Images()
    images._loaded = dataclasses.replace(loaded, **changes)
    return images


def saved(ctx: Remembering) -> list[bytes]:
    """Return the files that a run saved."""
    return [ctx.file(artifact.name).read_bytes() for artifact in ctx.saved]


@dataclasses.dataclass(frozen=True)
class Job:
    """A job of one task; each run has a folder of its own below `folder`."""

    images: Images
    folder: Path
    task: str = "generate"
    values: dict[str, Any] = dataclasses.field(default_factory=dict)

    def run(self, name: str = "whole", **context: Any) -> tuple[Remembering, Pictures]:
        """Run it to the end."""
        ctx = Remembering(self.folder / name, **context)
        return ctx, self._call()(ctx, **self._values())

    def files(self, name: str = "whole", **context: Any) -> list[bytes]:
        """Run it to the end and return its pictures."""
        ctx, _ = self.run(name, **context)
        return saved(ctx)

    def interrupted(self, checks: int, resumed: Resumed | None = None) -> Resumed | None:
        """Run it up to the stop after `checks` looks for one; returns what it left."""
        ctx = Remembering(
            self.folder / f"stopped-{checks}-{resumed is not None}", stop=Interrupted(), checks=checks, resumed=resumed
        )
        try:
            self._call()(ctx, **self._values())
        except Interrupted:
            return ctx.resume()
        raise AssertionError("it was not interrupted")

    def _call(self) -> Callable[..., Pictures]:
        call: Callable[..., Pictures] = getattr(self.images, self.task)
        return call

    def _values(self) -> dict[str, Any]:
        return {"prompt": "an astronaut on a horse", "seed": 5, **TASKS[self.task], **self.values}
