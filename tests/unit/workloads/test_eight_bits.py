from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glowplug.errors import InvalidInput
from glowplug.workloads.detection.inference import picture as looked_at
from glowplug.workloads.diffusion.pictures import upright
from glowplug.workloads.digits.picture import read
from glowplug.workloads.eight_bits import eight_bits


def sixteen(form: str, numbers: np.ndarray) -> Image.Image:
    """Return a grey picture of 16 bits as it comes out of a file."""
    stream = io.BytesIO()
    Image.fromarray(numbers.astype(np.uint16)).save(stream, form)
    return Image.open(stream)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight_in_proportion(form: str) -> None:
    grey = eight_bits(sixteen(form, np.array([[0, 255, 256, 32768, 65535]])), "image")
    assert (grey.mode, list(grey.tobytes())) == ("L", [0, 0, 1, 128, 255])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_other_pictures_stay_as_they_are(mode: str) -> None:
    picture = Image.new(mode, (2, 2))
    assert eight_bits(picture, "image") is picture


def test_models_see_what_is_on_a_picture_of_sixteen_bits() -> None:
    numbers = np.full((96, 96), 60_000)
    numbers[12:84, 38:58] = 5_000
    assert upright(sixteen("PNG", numbers), "image").getextrema() == (19, 234)
    assert read(sixteen("PNG", numbers)).max() > 0.9


@pytest.mark.parametrize("number", [0.5, np.nan])
def test_floating_point_numbers_are_refused_with_the_way_out_by_every_model(number: float, tmp_path: Path) -> None:
    floating, path = Image.fromarray(np.full((96, 96), number, np.float32)), tmp_path / "a.tif"
    floating.save(path)
    ways = {
        "mask": lambda: upright(floating, "mask"),
        "image": lambda: read(floating),
        "images.3": lambda: looked_at(path, 3),
    }
    for name, way in ways.items():
        with pytest.raises(
            InvalidInput, match=f"^{name}: its colours are floating.* save it with 8 or 16 bits"
        ) as refused:
            way()
        assert refused.value.data["fields"] == [name]
