"""Pictures of 16 bits a colour, as scanners and cameras of depth write them, for what works with 8."""

from __future__ import annotations

from PIL.Image import Image as Picture

_STEP = 256


def eight_bits(picture: Picture) -> Picture:
    """Return a grey picture of 16 bits in 8, others as they are.

    Pillow by itself makes white of everything above 255, which is nearly all of it.
    """
    if not picture.mode.startswith("I"):
        return picture
    return picture.convert("I").point(lambda value: value * (1 / _STEP)).convert("L")
