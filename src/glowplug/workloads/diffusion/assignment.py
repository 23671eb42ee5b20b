"""An order checked against the model that shall carry it out, and filled in with the model's own choices."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image
from PIL.Image import Image as Picture

from glowplug.errors import InvalidInput
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.order import EditOrder, InpaintOrder, Order
from glowplug.workloads.diffusion.pictures import Asked, Size, fitted, opaque, painted, size_of, upright

Finish = Callable[[Picture], Picture]


def _as_it_is(picture: Picture) -> Picture:
    return picture


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a pipeline is to do. `pictures` are its arguments that are pictures, `finish` is done to what it draws."""

    pipeline: Any
    order: Order
    size: Size
    steps: int
    guidance: float | None
    prompt_tokens: int
    strength: float | None = None
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    finish: Finish = _as_it_is

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the pipeline that are the same for each picture."""
        width, height = self.size
        wanted = {
            "prompt": self.order.prompt,
            "negative_prompt": self.order.negative_prompt or None,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "strength": self.strength,
            "max_sequence_length": self.prompt_tokens,
            "width": width,
            "height": height,
        }
        # Some pipelines have the size from the picture that they change.
        known = inspect.signature(self.pipeline.__call__).parameters
        return {name: value for name, value in wanted.items() if value is not None and name in known}

    def facts(self, loaded: Loaded, seed: int) -> dict[str, Any]:
        """Return how a picture of that seed came about."""
        told = {**self.arguments, "model": loaded.title, "seed": seed}
        if loaded.loras:
            told["loras"] = ", ".join(loaded.loras)
        names = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
        return {names.get(name, name): value for name, value in told.items() if name != "max_sequence_length"}

    def fingerprint(self, loaded: Loaded) -> str:
        """Return what two assignments share only if they ask the same of the same model."""
        asked = {name: value for name, value in asdict(self.order).items() if name not in ("image", "mask")}
        pictures = {name: _digest(picture) for name, picture in self.pictures.items()}
        kinds = [type(self.pipeline).__name__, type(self.pipeline.scheduler).__name__]
        told = [asked, self.arguments, pictures, kinds, loaded.title, loaded.loras, loaded.dtype]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _digest(picture: Picture) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def to_generate(loaded: Loaded, order: Order) -> Assignment:
    """Return what to do for a picture from words.

    Raises:
        InvalidInput: the model cannot do it so.
    """
    return _assigned(loaded, order, loaded.generate, size_of(Asked(order.width, order.height), loaded))


def to_edit(loaded: Loaded, order: EditOrder) -> Assignment:
    """Return what to do for a picture from a picture.

    Raises:
        InvalidInput: the model cannot do it so, or the picture is unfit.
    """
    pipeline = _able(loaded, loaded.edit, "change pictures")
    source = opaque(upright(order.image, "image"))
    size = size_of(Asked(order.width, order.height), loaded, source.size)
    pictures = {"image": fitted(source, size)}
    return _assigned(loaded, order, pipeline, size, strength=order.strength, pictures=pictures)


def to_inpaint(loaded: Loaded, order: InpaintOrder) -> Assignment:
    """Return what to do to paint into a picture; outside the mask every pixel stays as it was.

    Raises:
        InvalidInput: the model cannot do it so, or picture or mask are unfit.
    """
    pipeline = _able(loaded, loaded.inpaint, "paint into pictures")
    upright_image = upright(order.image, "image")
    where = painted(upright(order.mask, "mask"), upright_image)
    source = opaque(upright_image)
    size = size_of(Asked(order.width, order.height), loaded, source.size)
    image, mask = fitted(source, size), fitted(where, size)

    def finish(picture: Picture) -> Picture:
        return Image.composite(picture, image, mask)

    pictures = {"image": image, "mask_image": mask}
    return _assigned(loaded, order, pipeline, size, strength=order.strength, pictures=pictures, finish=finish)


def _able(loaded: Loaded, pipeline: Any, what: str) -> Any:
    if pipeline is None:
        raise InvalidInput(f"the loaded model ({loaded.title or loaded.family}) cannot {what}; use images.generate")
    return pipeline


def _assigned(loaded: Loaded, order: Order, pipeline: Any, size: Size, **more: Any) -> Assignment:
    steps, strength = order.steps or loaded.steps, more.get("strength")
    if order.guidance is not None and loaded.guidance is None:
        raise InvalidInput("guidance: this model takes none; leave it out", fields=["guidance"])
    guidance = loaded.guidance if order.guidance is None else order.guidance
    if order.negative_prompt:
        _check_negative(loaded, guidance)
    if strength is not None and int(steps * strength) < 1:
        told = f"strength={strength:g}: of {steps} steps it leaves none; raise strength or steps"
        raise InvalidInput(told, fields=["strength", "steps"])
    return Assignment(pipeline, order, size, steps, guidance, loaded.prompt_tokens, **more)


def _check_negative(loaded: Loaded, guidance: float | None) -> None:
    if not loaded.negative:
        told = "negative_prompt: this model knows none; say in the prompt what shall be there instead"
        raise InvalidInput(told, fields=["negative_prompt"])
    if guidance is None or guidance <= 1:
        told = f"negative_prompt: it has no effect with a guidance of {guidance}; ask for one above 1"
        raise InvalidInput(told, fields=["negative_prompt", "guidance"])
