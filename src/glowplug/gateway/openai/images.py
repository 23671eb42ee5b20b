"""Images: what a request for pictures means to a task, and what is made of the pictures. Pure, but for `encoded`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from glowplug.artifact import SCHEME
from glowplug.errors import TaskFailed
from glowplug.gateway.openai.parameters import extras, knows, wrong
from glowplug.gateway.openai.shapes import ImageRequest
from glowplug.store import TaskInfo

NAMES = {"count": "n", "width": "size", "height": "size", "images": "image"}
LARGEST_SIDE = 16_384
DEFAULT_QUALITY = 90
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_TAKEN = frozenset({*ImageRequest.__struct_fields__, "image", "images", "mask", "count", "width", "height"})
_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


def given(task: TaskInfo, wish: ImageRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task is called with, but for the pictures. Raises `InvalidInput`."""
    if wish.stream:
        raise wrong("stream", "pictures are not streamed; follow a job with POST /v1/jobs instead")
    if wish.output_compression is not None and not 0 <= wish.output_compression <= 100:
        raise wrong("output_compression", "a number from 0 to 100 is expected")
    said: dict[str, Any] = {**extras(task, body, _TAKEN), "prompt": wish.prompt}
    if wish.n is not None and (wish.n != 1 or knows(task, "count")):
        if not knows(task, "count"):
            raise wrong("n", f"{wish.model} makes one picture at a time")
        said["count"] = wish.n
    said.update(_size(wish.size))
    if wish.output_format is not None and knows(task, "output_format"):
        said["output_format"] = wish.output_format
    return said


def keys(result: Any) -> list[str]:
    """Return the keys of the pictures in a task's result. Raises `TaskFailed` if there are none."""
    images = result.get("images") if isinstance(result, Mapping) else None
    texts = images if isinstance(images, list) else []
    found = [text.removeprefix(SCHEME) for text in texts if isinstance(text, str) and text.startswith(SCHEME)]
    if not found or len(found) != len(texts):
        raise TaskFailed("the task serves images, but its result has no list of artifacts called images")
    return found


def wants(wish: ImageRequest, media_type: str) -> str | None:
    """Return the media type that a picture has to be turned into, None if it is fine as it is."""
    wanted = f"image/{wish.output_format}" if wish.output_format else media_type
    return None if wanted == media_type else wanted


def encoded(data: bytes, media_type: str, quality: int | None) -> bytes:
    """Return a picture of ours in another format; to be called in a thread. Raises `TaskFailed` if it is none."""
    from PIL import Image

    form = _FORMATS[media_type.removeprefix("image/")]
    target = BytesIO()
    try:
        with Image.open(BytesIO(data), formats=tuple(_FORMATS.values())) as picture:
            plain = picture.convert("RGB") if form == "JPEG" else picture
            plain.save(target, form, quality=DEFAULT_QUALITY if quality is None else quality)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise TaskFailed(f"the task's picture cannot be read: {error}") from error
    return target.getvalue()


def answer(created: int, entries: list[dict[str, Any]], wish: ImageRequest, result: Any) -> dict[str, Any]:
    """Return the body of the answer; what the task told beside its pictures, such as the seed, goes with it."""
    more = {name: value for name, value in result.items() if name not in ("images", "created", "data")}
    form = {"output_format": wish.output_format} if wish.output_format else {}
    size = {"size": wish.size} if wish.size else {}
    return {**more, "created": created, "data": entries, **form, **size}


def _size(size: str | None) -> dict[str, int]:
    if size is None or size == "auto":
        return {}
    match = _SIZE.fullmatch(size)
    if match is None or not all(0 < int(side) <= LARGEST_SIDE for side in match.groups()):
        raise wrong("size", f"{size[:40]!r} is no size; it looks like 1024x768, or auto")
    return {"width": int(match[1]), "height": int(match[2])}
