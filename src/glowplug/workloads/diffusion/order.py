"""What the tasks take and answer, and how the fields of an order become parameters of a task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from glowplug.model import Image

LARGEST_SEED = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""
LONGEST_PROMPT = 10_000
MOST_IMAGES = 32
MOST_STEPS = 500
LARGEST_SIDE = 8192
R = TypeVar("R")

Text = Annotated[str, MinLen(1), MaxLen(LONGEST_PROMPT)]
Side = Annotated[int, Ge(8), Le(LARGEST_SIDE)]
Format = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A picture in words. What is None is the model's own choice; picture n of `count` has the seed `seed` + n.

    `metadata` writes prompt, seed and the like into the files; None does as the model's option says.
    """

    prompt: Text
    negative_prompt: Annotated[str, MaxLen(LONGEST_PROMPT)] | None = None
    count: Annotated[int, Ge(1), Le(MOST_IMAGES)] = 1
    width: Side | None = None
    height: Side | None = None
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] | None = None
    steps: Annotated[int, Ge(1), Le(MOST_STEPS)] | None = None
    guidance: Annotated[float, Ge(0), Le(100)] | None = None
    format: Format = "png"
    metadata: bool | None = None


@dataclass(frozen=True, kw_only=True)
class EditOrder(Order):
    """A picture to change, as far as `strength` says (1 keeps nothing of it)."""

    image: Image
    strength: Annotated[float, Gt(0), Le(1)] = 0.6


@dataclass(frozen=True, kw_only=True)
class InpaintOrder(EditOrder):
    """A picture to paint into where `mask` is transparent, or white if it has no transparency."""

    mask: Image
    strength: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, slots=True)
class Pictures:
    """Finished pictures, in the order of their seeds from `seed` on.

    `truncated` is what the model did not read of the prompt, "" if it read all of it.
    """

    images: list[str]
    seed: int
    steps: int
    guidance: float | None
    width: int
    height: int
    truncated: str = ""


def spread(order: type[Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let a task that is written as `(self, ctx, order)` be called with the fields of `order` by name.

    Platform and callers see one parameter a field, as if they stood in the signature.
    """
    hints = get_type_hints(order, include_extras=True)
    parameters = [_parameter(field.name, field.default, hints[field.name]) for field in fields(order)]

    def decorate(method: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(method)
        def call(self: Any, ctx: Any, **values: Any) -> R:
            return method(self, ctx, order(**values))

        written = inspect.signature(method)
        own = list(written.parameters.values())[:2]
        ordered = sorted(parameters, key=lambda one: one.default is not one.empty)
        call.__signature__ = written.replace(parameters=[*own, *ordered])  # type: ignore[attr-defined]
        call.__annotations__ = {one.name: one.annotation for one in parameters} | {
            "return": get_type_hints(method)["return"]
        }
        return call

    return decorate


def _parameter(name: str, default: Any, hint: Any) -> inspect.Parameter:
    value = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hint)
