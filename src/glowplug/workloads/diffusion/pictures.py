"""Pictures that callers send: turned upright, without transparency, of a size that the model can work on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageOps
from PIL.Image import Image as Picture
from PIL.Image import Resampling

from glowplug.errors import InvalidInput
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.eight_bits import eight_bits

MOST_TIMES = 4
"""As many times the model's own number of pixels may be asked for."""
FEWEST_SHARE = 1 / 4
"""A picture with less than this share of the model's own number of pixels is worked on enlarged."""
WIDEST = 8.0
"""The longer side in shorter sides."""
PAINTED = 128
"""From this brightness of the mask on, the model paints."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """The size that the caller asked for, None where it is left open."""

    width: int | None
    height: int | None


def size_of(asked: Asked, loaded: Loaded, source: Size | None = None) -> Size:
    """Return the width and height to draw, from what was asked for and the size of the picture to change, if any.

    Raises:
        InvalidInput: it is no multiple, too large, or the picture is too narrow.
    """
    for name, value in (("width", asked.width), ("height", asked.height)):
        if value is not None and value % loaded.multiple:
            raise InvalidInput(_no_multiple(name, value, loaded.multiple), fields=[name])
    size = _completed(asked, loaded, _open_size(source, loaded))
    most = MOST_TIMES * loaded.pixels**2
    if size[0] * size[1] > most:
        side = math.isqrt(most) // loaded.multiple * loaded.multiple
        told = f"{size[0]} x {size[1]} is too large for this model; at most {most} pixels, such as {side} x {side}"
        raise InvalidInput(told, fields=["width", "height"])
    return size


def _no_multiple(name: str, value: int, multiple: int) -> str:
    below = value // multiple * multiple
    nearest = f"{below} or {below + multiple}" if below else str(multiple)
    return f"{name}={value}: this model draws multiples of {multiple}; use {nearest}"


def _open_size(source: Size | None, loaded: Loaded) -> tuple[float, float]:
    """Return what a size is that nobody asked for: the picture's own, unless the model would have trouble with it."""
    own = loaded.pixels**2
    if source is None:
        return loaded.pixels, loaded.pixels
    width, height = source
    if max(width, height) > WIDEST * min(width, height):
        told = f"the image has {width} x {height} pixels; its longer side may be {WIDEST:.0f} times the shorter"
        raise InvalidInput(told, fields=["image"])
    fits = FEWEST_SHARE * own <= width * height <= MOST_TIMES * own
    scale = 1.0 if fits else math.sqrt(own / (width * height))
    return width * scale, height * scale


def _completed(asked: Asked, loaded: Loaded, free: tuple[float, float]) -> Size:
    width, height = free
    if asked.width is not None and asked.height is None:
        width, height = asked.width, asked.width * height / width
    elif asked.height is not None and asked.width is None:
        width, height = asked.height * width / height, asked.height
    return asked.width or _rounded(width, loaded.multiple), asked.height or _rounded(height, loaded.multiple)


def _rounded(value: float, multiple: int) -> int:
    # Down, so that a picture at the limit stays within it.
    return max(multiple, int(value) // multiple * multiple)


def upright(picture: Picture, name: str) -> Picture:
    """Return the picture as its camera meant it.

    Raises:
        InvalidInput: it cannot be decoded, or is in colours that cannot be changed into others.
    """
    if picture.mode == "LAB":
        # The only colours in files that Pillow cannot change into others.
        raise InvalidInput(f"{name}: pictures in CIELAB colours are not read; send it in RGB", fields=[name])
    try:
        picture.load()
        return eight_bits(ImageOps.exif_transpose(picture), name)
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput(f"{name}: the image is broken: {error}", fields=[name]) from error


def opaque(picture: Picture) -> Picture:
    """Return the picture in RGB, what was transparent being white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")


def painted(mask: Picture, picture: Picture) -> Picture:
    """Return where to paint, in black (keep) and white (paint), from an upright mask for an upright picture.

    Raises:
        InvalidInput: the mask has another size than the picture, or leaves nothing to paint.
    """
    if mask.size != picture.size:
        sizes = f"{mask.width} x {mask.height} pixels, the image {picture.width} x {picture.height}"
        raise InvalidInput(f"mask: it has {sizes}; send a mask of the image's size", fields=["mask"])
    alpha = mask.convert("RGBA").getchannel("A") if mask.has_transparency_data else None
    clear = alpha is not None and alpha.getextrema()[0] < 255  # type: ignore[operator]  # one band, one pair
    where = ImageChops.invert(alpha) if alpha is not None and clear else mask.convert("L")
    where = where.point(lambda value: 255 if value >= PAINTED else 0)
    if where.getbbox() is None:
        told = "mask: it leaves nothing to paint; make the place to paint transparent, or white on black"
        raise InvalidInput(told, fields=["mask"])
    return where


def fitted(picture: Picture, size: Size) -> Picture:
    """Return the picture in that size, cut at the edges where the proportions differ."""
    if picture.size == size:
        return picture
    return ImageOps.fit(picture, size, Resampling.NEAREST if picture.mode == "L" else Resampling.LANCZOS)
