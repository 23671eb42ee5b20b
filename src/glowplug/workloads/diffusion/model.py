"""The `images` model: pictures from words, from pictures, and into masks, by any pipeline that diffusers loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from glowplug.load_context import LoadContext
from glowplug.model import Model, RunContext, task
from glowplug.workloads.diffusion.order import EditOrder, InpaintOrder, Order, Pictures, spread
from glowplug.workloads.extras import Deferred

if TYPE_CHECKING:
    from glowplug.workloads.diffusion import generation
    from glowplug.workloads.diffusion.loaded import Loaded
else:
    generation = Deferred("glowplug.workloads.diffusion.generation", "diffusion", "the images model")

A_PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAPUlEQVR42iXKMRWAMBAFsLxTUCcgAQk4qxQsUAXUARKQ8Bm6ZYgk"
    "x34lhTYHxbxtSG+8ieTjWYfJAop2GvzQrBWr7w5C+QAAAABJRU5ErkJggg=="
)


class Images(Model):
    """Draws, edits and inpaints with the diffusion pipeline that its options name."""

    name: ClassVar[str] = "images"
    version: ClassVar[str] = "1"

    def load(self, ctx: LoadContext) -> None:
        """Read the pipeline and bring it to its device."""
        self._loaded: Loaded

    @task(example={"prompt": "a lighthouse on a cliff at dusk", "seed": 7, "steps": 4}, serves="images/generations")
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
