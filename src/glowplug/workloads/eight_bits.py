"""Pictures of 16 bits a colour, as scanners and cameras of depth write them, for what works with 8."""

from __future__ import annotations

from PIL.Image import Image as Picture

from glowplug.errors import InvalidInput

FLOATING = "F"
NO_SCALE = "its colours are floating-point numbers, and none of them is said to be white; save it with 8 or 16 bits"
_STEP = 256


def eight_bits(picture: Picture, name: str) -> Picture:
    """Return a grey picture of 16 bits in 8, others as they are; `name` is that of the parameter.

    Pillow by itself makes white of everything above 255, which is nearly all of it, and black of floating-point numbers
    from 0 to 1 and of NaN.

    Raises:
        InvalidInput: its colours are floating-point numbers.
    """
    if picture.mode == FLOATING:
        raise InvalidInput(f"{name}: {NO_SCALE}", fields=[name])
    if not picture.mode.startswith("I"):
        return picture
    return picture.convert("I").point(lambda value: value * (1 / _STEP)).convert("L")
