from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

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
    grey = eight_bits(sixteen(form, np.array([[0, 255, 256, 32768, 65535]])))
    assert (grey.mode, list(grey.tobytes())) == ("L", [0, 0, 1, 128, 255])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_other_pictures_stay_as_they_are(mode: str) -> None:
    picture = Image.new(mode, (2, 2))
    assert eight_bits(picture) is picture


def test_models_see_what_is_on_a_picture_of_sixteen_bits() -> None:
    numbers = np.full((96, 96), 60_000)
    numbers[12:84, 38:58] = 5_000
    assert upright(sixteen("PNG", numbers), "image").getextrema() == (19, 234)
    assert read(sixteen("PNG", numbers)).max() > 0.9
