"""Pictures as files that tell how they came about."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL.ExifTags import IFD, Base
from PIL.Image import Exif
from PIL.Image import Image as Picture
from PIL.PngImagePlugin import PngInfo

from glowplug.workloads.diffusion.order import Format

KEY = "glowplug"
"""The text chunk of a PNG file that holds the facts as JSON; JPEG and WebP have them in EXIF's user comment."""
SOFTWARE = "Glowplug"
PNG_EFFORT = 3
"""Of 0 to 9: twice as fast as zlib's usual 6, for some hundredths more of size."""
QUALITY = 95
LONGEST_TOLD = 5_000
"""Characters of a text that are kept: EXIF has room for 64 KB in all."""
_UNICODE = b"UNICODE\0"


def encoded(picture: Picture, form: Format, facts: Mapping[str, Any] | None) -> bytes:
    """Return the file; `facts` are None where it shall say nothing."""
    stream = io.BytesIO()
    if form == "png":
        picture.save(stream, "PNG", compress_level=PNG_EFFORT, pnginfo=_png_info(facts) if facts else None)
    else:
        told = {"exif": _exif(facts)} if facts else {}
        picture.save(stream, form.upper(), quality=QUALITY, **told)
    return stream.getvalue()


def facts_of(picture: Picture) -> dict[str, Any]:
    """Return what the file of `picture` tells, {} if nothing."""
    told = picture.info.get(KEY)
    if told is None:
        comment = picture.getexif().get_ifd(IFD.Exif).get(Base.UserComment, b"")
        told = comment.removeprefix(_UNICODE).decode("utf-16-le") if comment.startswith(_UNICODE) else "{}"
    found: dict[str, Any] = json.loads(told)
    return found


def _png_info(facts: Mapping[str, Any]) -> PngInfo:
    info = PngInfo()
    info.add_itxt(KEY, _json(facts))
    info.add_text("Software", SOFTWARE)
    return info


def _exif(facts: Mapping[str, Any]) -> Exif:
    exif = Exif()
    exif[Base.Software] = SOFTWARE
    exif.get_ifd(IFD.Exif)[Base.UserComment] = _UNICODE + _json(facts).encode("utf-16-le")
    return exif


def _json(facts: Mapping[str, Any]) -> str:
    short = {name: value[:LONGEST_TOLD] if isinstance(value, str) else value for name, value in facts.items()}
    return json.dumps(short, ensure_ascii=False)
