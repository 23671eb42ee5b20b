"""Pictures from callers, the files that go back to them, and how much is asked for. No torch here."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import Base
from PIL.Image import Image as Picture

from glowplug.errors import InvalidInput
from glowplug.workloads.diffusion.loaded import Loaded
from glowplug.workloads.diffusion.metadata import LONGEST_TOLD, encoded, facts_of
from glowplug.workloads.diffusion.order import Format
from glowplug.workloads.diffusion.pictures import Asked, fitted, opaque, painted, size_of, upright

MODEL = Loaded("flux", None, None, None, "cpu", "float32", 1024, 16)
FACTS = {"prompt": "ein gelber Vogel 🐦", "seed": 7, "steps": 4, "guidance": 3.5}


@pytest.mark.parametrize(
    ("asked", "source", "size"),
    [
        (Asked(None, None), None, (1024, 1024)),
        (Asked(512, None), None, (512, 512)),
        (Asked(None, 768), None, (768, 768)),
        (Asked(1536, 640), None, (1536, 640)),
        (Asked(None, None), (1280, 720), (1280, 720)),
        (Asked(None, None), (1283, 727), (1280, 720)),
        (Asked(None, None), (8000, 4000), (1440, 720)),
        (Asked(None, None), (8, 8), (1024, 1024)),
        (Asked(512, None), (1280, 720), (512, 288)),
        (Asked(None, 512), (1000, 2000), (256, 512)),
        (Asked(640, 640), (1280, 720), (640, 640)),
    ],
)
def test_the_size_is_the_asked_one_then_the_pictures_own_then_the_models(
    asked: Asked, source: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    assert size_of(asked, MODEL, source) == size


@pytest.mark.parametrize(
    ("asked", "source", "field", "told"),
    [
        (Asked(1000, None), None, "width", "use 992 or 1008"),
        (Asked(None, 8), None, "height", "use 16"),
        (Asked(2064, 2048), None, "width", "such as 2048 x 2048"),
        (Asked(None, None), (9000, 100), "image", "8 times the shorter"),
    ],
)
def test_a_size_that_the_model_cannot_draw_is_refused_with_one_that_it_can(
    asked: Asked, source: tuple[int, int] | None, field: str, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        size_of(asked, MODEL, source)
    assert field in refused.value.data["fields"]


def test_a_photograph_lying_on_its_side_is_turned_upright() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    Image.new("RGB", (40, 20), "navy").save(stream, "JPEG", exif=exif)
    assert upright(Image.open(stream), "image").size == (20, 40)


def test_a_picture_that_is_cut_off_is_refused_by_name() -> None:
    data = encoded(noise(), "png", None)
    with pytest.raises(InvalidInput, match="mask: the image is broken") as refused:
        upright(Image.open(io.BytesIO(data[: len(data) // 2])), "mask")
    assert refused.value.data["fields"] == ["mask"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_every_kind_of_picture_becomes_rgb(mode: str) -> None:
    assert opaque(Image.new(mode, (3, 2))).mode == "RGB"


def test_what_is_transparent_becomes_white_and_not_black() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    assert pixels(opaque(picture)) == [(255, 255, 255), (10, 20, 30)]


def test_a_transparent_mask_says_with_its_holes_where_to_paint() -> None:
    mask = Image.new("RGBA", (3, 1), (255, 255, 255, 255))
    mask.putpixel((1, 0), (255, 255, 255, 0))
    assert pixels(painted(mask, Image.new("RGB", (3, 1)))) == [0, 255, 0]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_any_other_mask_says_it_in_white(mode: str) -> None:
    mask = Image.new("L", (3, 1))
    mask.putpixel((2, 0), 255)
    assert pixels(painted(mask.convert(mode), Image.new("RGB", (3, 1)))) == [0, 0, 255]


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidInput, match="10 x 20 pixels, the image 20 x 10") as refused:
        painted(Image.new("L", (10, 20), 255), Image.new("RGB", (20, 10)))
    assert refused.value.data["fields"] == ["mask"]


@pytest.mark.parametrize("mask", [Image.new("L", (2, 2)), Image.new("RGBA", (2, 2), (9, 9, 9, 255))])
def test_a_mask_that_leaves_nothing_to_paint_is_refused(mask: Picture) -> None:
    with pytest.raises(InvalidInput, match="nothing to paint"):
        painted(mask, Image.new("RGB", (2, 2)))


def test_a_picture_is_fitted_without_being_stretched_and_a_mask_stays_black_and_white() -> None:
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste("black", (0, 0, 80, 100))
    assert fitted(wide, (50, 50)).getextrema() == ((255, 255),) * 3
    mask = Image.linear_gradient("L").point(lambda value: 255 if value > 99 else 0)
    assert set(pixels(fitted(mask, (100, 100)))) == {0, 255}
    assert fitted(wide, (300, 100)) is wide


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_file_tells_how_it_came_about_unless_it_shall_not(form: Format) -> None:
    with Image.open(io.BytesIO(encoded(noise(), form, FACTS))) as told:
        assert told.format == form.upper()
        assert facts_of(told) == FACTS
    with Image.open(io.BytesIO(encoded(noise(), form, None))) as silent:
        assert facts_of(silent) == {}


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_endless_texts_are_told_as_far_as_there_is_room(form: Format) -> None:
    long = {"prompt": "🐦" * 10_000, "negative_prompt": "🐟" * 10_000}
    with Image.open(io.BytesIO(encoded(noise(), form, long))) as told:
        assert [len(value) for value in facts_of(told).values()] == [LONGEST_TOLD, LONGEST_TOLD]


def test_png_keeps_every_pixel() -> None:
    picture = noise()
    with Image.open(io.BytesIO(encoded(picture, "png", FACTS))) as read:
        assert read.tobytes() == picture.tobytes()


def noise() -> Picture:
    return Image.effect_noise((24, 16), 80).convert("RGB")


def pixels(picture: Picture) -> list[Any]:
    return [picture.getpixel((x, y)) for y in range(picture.height) for x in range(picture.width)]


def test_colours_that_cannot_be_changed_into_others_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="mask: pictures in CIELAB colours are not read; send it in RGB"):
        upright(Image.new("LAB", (3, 2)), "mask")
