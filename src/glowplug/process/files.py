"""File parameters in the child: a reference or a data URL becomes a local file, or a decoded image."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from glowplug.artifact import SCHEME

LARGEST_DATA_BYTES = 64 * 1024 * 1024
LARGEST_PICTURE_BYTES = 512 * 1024 * 1024
LARGEST_PIXELS = 80_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that Pillow decodes by itself; others start foreign programs."""
SHOWN_CHARACTERS = 80


class Files:
    """The files that one call may see. What it raises is `ValueError`, which validation turns into `InvalidInput`."""

    def __init__(self, paths: Mapping[str, str], scratch: Callable[[], Path]) -> None:
        self._paths = paths
        self._scratch = scratch
        self._count = 0

    def open_file(self, value: object, kind: str) -> object:
        """Return the path of a file or folder parameter, or the picture of an image parameter."""
        if not isinstance(value, str):
            raise ValueError("an artifact reference or a data URL is expected, as a string")  # noqa: TRY004 - pydantic
        if value.startswith("data:") and kind != "folder":
            data = _data_of(value)
            return _image(BytesIO(data)) if kind == "image" else self._written(data)
        path = self._paths.get(value)
        if path is None:
            form = f"to a folder ('{SCHEME}FOLDER/')" if kind == "folder" else f"('{SCHEME}…') or data URL"
            what = "no such artifact" if value.startswith(SCHEME) else f"not a reference {form}"
            raise ValueError(f"{what}: {value[:SHOWN_CHARACTERS]}")
        if (kind == "folder") != Path(path).is_dir():
            fix = "a folder is expected, with a slash at its end" if kind == "folder" else "a file is expected"
            raise ValueError(f"{fix}: {value[:SHOWN_CHARACTERS]}")
        return _image(BytesIO(_read(Path(path)))) if kind == "image" else Path(path)

    def _written(self, data: bytes) -> Path:
        self._count += 1
        path = self._scratch() / f"input-{self._count}"
        path.write_bytes(data)
        return path


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_PICTURE_BYTES:
        raise ValueError(f"the image's file has {size} bytes, more than {LARGEST_PICTURE_BYTES}")
    return path.read_bytes()


def _data_of(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise ValueError("the data URL has no data")
    if len(body) > LARGEST_DATA_BYTES * 4 // 3:
        raise ValueError(f"the data URL has more than {LARGEST_DATA_BYTES} bytes; upload an artifact instead")
    if not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(unquote_to_bytes(body), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the data URL is no base64: {error}") from error


def _image(stream: BytesIO) -> Any:
    """Decode the picture now, so that a broken or monstrous one is the caller's error and not the task's."""
    from PIL import Image

    try:
        image = Image.open(stream, formats=FORMATS)
        _check_pixels(image.width, image.height)
        image.load()
        _check_numbers(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image has more than {LARGEST_PIXELS} pixels") from error
    except ValueError:
        raise
    except Exception as error:
        # Whatever a decoder stumbles over, it lies in the picture.
        unknown = type(error).__name__ == "UnidentifiedImageError"
        why = f"not an image of {', '.join(FORMATS)}" if unknown else f"the image is broken: {error}"
        raise ValueError(why) from error
    return image


def _check_numbers(image: Any) -> None:
    # Without NumPy, which may be absent: a sum holds what is no number, and those of 32 bits cannot outgrow 64.
    if image.mode == "F" and not math.isfinite(sum(memoryview(image.tobytes()).cast("f"))):
        raise ValueError("the image has colours that are no finite numbers (NaN or infinity)")


def _check_pixels(width: int, height: int) -> None:
    if width * height > LARGEST_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels, more than {LARGEST_PIXELS}")
