"""The `images` model: pictures from words, from pictures, and into masks, by any pipeline that diffusers loads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from glowplug.errors import SettingsError
from glowplug.load_context import LoadContext
from glowplug.model import Model, RunContext, task
from glowplug.workloads.diffusion.options import ImageOptions
from glowplug.workloads.diffusion.order import EditOrder, InpaintOrder, Order, Pictures, spread
from glowplug.workloads.diffusion.source import declared, foreseen
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from glowplug.workloads.diffusion import generation, loading, residence
    from glowplug.workloads.diffusion.loaded import Loaded
else:
    generation = Deferred("glowplug.workloads.diffusion.generation", "diffusion", "the images model")
    loading = Deferred("glowplug.workloads.diffusion.loading", "diffusion", "the images model")
    residence = Deferred("glowplug.workloads.diffusion.residence", "diffusion", "the images model")

A_PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAPUlEQVR42iXKMRWAMBAFsLxTUCcgAQk4qxQsUAXUARKQ8Bm6ZYgk"
    "x34lhTYHxbxtSG+8ieTjWYfJAop2GvzQrBWr7w5C+QAAAABJRU5ErkJggg=="
)


class Images(Model):
    """Draws, edits and inpaints with the diffusion pipeline that its options name; they are told in the README.

    A subclass with `weights = {"model": "s3://…"}` needs no option.
    """

    name: ClassVar[str] = "images"
    version: ClassVar[str] = "1"

    @classmethod
    def known_options(cls, options: Mapping[str, str]) -> Collection[str]:
        """Return the names of its options."""
        del options
        return ImageOptions.__slots__

    @classmethod
    def prepare(cls, options: Mapping[str, str]) -> None:
        """Import diffusers and, where the pipeline is on this machine, what it is made of."""
        loading.prepare(ImageOptions.of(options))

    def load(self, ctx: LoadContext) -> None:
        """Read the pipeline and bring it to its device."""
        self._loaded: Loaded = loading.load(ctx, ImageOptions.of(ctx.options))

    def warm_up(self, ctx: LoadContext) -> None:
        """Draw a picture of one step, all the way to its file."""
        side = residence.warm_up_pixels(self._loaded)
        with TemporaryDirectory(prefix="glowplug-warm-up-") as folder:
            try:
                self.generate(RunContext(Path(folder)), prompt="a lighthouse", seed=0, steps=1, width=side, height=side)
            except (TypeError, ValueError, LookupError, ArithmeticError, AssertionError) as error:
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                told = f"{self._loaded.title} loads, but cannot draw ({why}); look at its configs, or fetch it again"
                raise SettingsError(told) from error

    def unload(self) -> None:
        """Give the memory back, the device's too."""
        if hasattr(self, "_loaded"):
            del self._loaded
            residence.free_card()

    def sleep(self) -> None:
        """Move the networks to host memory."""
        residence.to_host(self._loaded)

    def wake(self) -> None:
        """Move the networks back to their device."""
        residence.to_device(self._loaded)

    @classmethod
    def sources(cls, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return where pipeline and LoRAs are fetched from; a folder of this machine is looked over."""
        return declared(ImageOptions.of(options), cls.weights)

    @classmethod
    def estimate(cls, weights: Mapping[str, Path], options: Mapping[str, str]) -> int | None:
        """Return what the pipeline takes on a card where the options say how it lies there."""
        return foreseen(weights, ImageOptions.of(options))

    @task(
        example={"prompt": "a lighthouse on a cliff at dusk", "seed": 7, "steps": 4},
        warm_up=False,
        serves="images/generations",
    )
    @spread(Order)
    def generate(self, ctx: RunContext, order: Order) -> Pictures:
        """Draw pictures from words."""
        return generation.generate(ctx, self._loaded, order)

    @task(example={"prompt": "in autumn", "image": A_PICTURE, "steps": 4}, warm_up=False, serves="images/edits")
    @spread(EditOrder)
    def edit(self, ctx: RunContext, order: EditOrder) -> Pictures:
        """Draw a picture anew, as the words say."""
        return generation.edit(ctx, self._loaded, order)

    @task(
        example={"prompt": "a window", "image": A_PICTURE, "mask": A_PICTURE, "steps": 4},
        warm_up=False,
        serves="images/inpaints",
    )
    @spread(InpaintOrder)
    def inpaint(self, ctx: RunContext, order: InpaintOrder) -> Pictures:
        """Paint what the words say where the mask is transparent or white."""
        return generation.inpaint(ctx, self._loaded, order)
