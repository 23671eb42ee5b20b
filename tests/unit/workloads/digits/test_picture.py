"""Pictures for people, and people's pictures for the network."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from glowplug.errors import InvalidInput
from glowplug.workloads.digits.picture import INK, MARGIN, PAPER, drawn, png, read, sheet
from glowplug.workloads.digits.sampler import SIDE, Pixels


def stroke() -> Pixels:
    """Return one digit with a thick upright stroke from top to bottom."""
    digit = np.full((1, 1, SIDE, SIDE), -1, np.float32)
    digit[0, 0, :, 6:10] = 1
    return digit


def one_on(paper: int | tuple[int, ...], ink: int | tuple[int, ...], mode: str, size: int = 96) -> Image.Image:
    """Return a picture of an upright stroke."""
    picture = Image.new(mode, (size, size), paper)
    ImageDraw.Draw(picture).rectangle((size * 4 // 10, size // 8, size * 6 // 10, size * 7 // 8), fill=ink)
    return picture


@pytest.mark.parametrize("scale", [1, 4, 32])
def test_a_drawn_digit_is_enlarged_with_a_margin_around(scale: int) -> None:
    assert drawn(stroke(), scale).size == ((SIDE + 2 * MARGIN) * scale,) * 2


def test_digits_of_one_picture_stand_side_by_side() -> None:
    picture = drawn(np.concatenate([stroke()] * 3), 2)
    assert picture.size == ((3 * SIDE + 2 * MARGIN) * 2, (SIDE + 2 * MARGIN) * 2)


def test_strokes_are_ink_and_the_rest_is_paper() -> None:
    picture = drawn(stroke(), 8)
    middle = picture.width // 2
    assert all(abs(a - b) <= 2 for a, b in zip(picture.getpixel((middle, middle)), INK, strict=True))
    assert all(abs(a - b) <= 2 for a, b in zip(picture.getpixel((0, 0)), PAPER, strict=True))


def test_a_png_comes_back_as_it_was() -> None:
    picture = drawn(stroke(), 3)
    data = png(picture)
    assert data.startswith(b"\x89PNG")
    assert Image.open(io.BytesIO(data)).tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (8, 4, 2), (9, 3, 3), (10, 5, 2), (64, 8, 8)]
)
def test_a_sheet_leaves_few_gaps(count: int, columns: int, rows: int) -> None:
    board = sheet([drawn(stroke(), 1)] * count)
    side = SIDE + 2 * MARGIN
    assert board.size == (columns * side, rows * side)


@pytest.mark.parametrize("count", range(1, 65))
def test_a_sheet_has_room_for_every_picture(count: int) -> None:
    wide = drawn(np.concatenate([stroke()] * 4), 1)
    board = sheet([wide] * count)
    assert (board.width // wide.width) * (board.height // wide.height) >= count


def test_a_sheet_shows_its_pictures_row_by_row() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9)]
    board = sheet([Image.new("RGB", (10, 10), colour) for colour in colours])
    assert [board.getpixel(at) for at in ((5, 5), (15, 5), (5, 15), (15, 15))] == colours


def test_a_drawn_digit_is_read_as_nearly_the_same_pixels() -> None:
    seen = read(drawn(stroke(), 8))
    assert seen.shape == (1, 1, SIDE, SIDE)
    assert seen.dtype == np.float32
    assert seen[0, 0, :, 7:9].mean() > 0.9
    assert seen[0, 0, :, :5].mean() < -0.9
    assert seen[0, 0, :, 11:].mean() < -0.9


@pytest.mark.parametrize(
    "picture",
    [
        one_on(255, 0, "L"),
        one_on(0, 255, "L"),
        one_on((250, 240, 200), (40, 20, 90), "RGB"),
        one_on((0, 0, 0, 0), (0, 0, 0, 255), "RGBA"),
        one_on(255, 0, "L").convert("P"),
        one_on(255, 0, "L").convert("1"),
        one_on(255, 0, "L").convert("CMYK"),
        one_on(255, 0, "L", 1200),
        one_on(255, 0, "L", 16),
        ImageOps.expand(one_on(255, 0, "L"), (200, 10, 3, 400), 255),
    ],
    ids=["dark", "light", "colours", "transparent", "palette", "bits", "cmyk", "large", "small", "off-centre"],
)
def test_ink_is_found_whatever_the_paper_the_mode_and_the_size(picture: Image.Image) -> None:
    seen = read(picture)[0, 0]
    assert seen[:, 7:9].mean() > 0.8
    assert seen[:, :4].mean() < -0.8
    assert seen[:, 12:].mean() < -0.8


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (32, 32), 255),
        Image.new("RGB", (1, 1)),
        Image.new("RGBA", (50, 9)),
        Image.new("L", (32, 32), 100),
    ],
    ids=["white", "pixel", "transparent", "gray"],
)
def test_an_empty_picture_is_refused(picture: Image.Image) -> None:
    with pytest.raises(InvalidInput, match="nothing is written on the image"):
        read(picture)


def test_a_picture_that_is_cut_off_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    data = png(Image.fromarray(noise))
    with pytest.raises(InvalidInput, match="the image is broken"):
        read(Image.open(io.BytesIO(data[: len(data) // 2])))


def test_reading_leaves_the_callers_picture_alone() -> None:
    picture = one_on(255, 0, "L", 1200)
    before = picture.tobytes()
    read(picture)
    assert picture.size == (1200, 1200)
    assert picture.tobytes() == before
