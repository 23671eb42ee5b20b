"""The task that looks: pictures by the handful, each with its boxes and a drawing, and bad ones named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.workloads.contexts import Remembering
from tests.unit.workloads.detection.cells import NAMES, picture, written

from glowplug.errors import Canceled, InvalidInput
from glowplug.workloads.detection.drawing import colour_of, drawn
from glowplug.workloads.detection.engine import Box, Engine, Finder
from glowplug.workloads.detection.inference import MOST_PIXELS_AT_ONCE, Wish, groups, infer
from glowplug.workloads.detection.use_values import Inferred, Params


class NoEngine:
    """An engine that is asked for nothing but to open what is no ONNX."""

    name, licence = "none", "MIT"

    def train(self, order: Any, watcher: Any) -> Any:
        raise AssertionError

    def open(self, weights: Path, device: str) -> Finder:
        raise InvalidInput("model_path: not weights of mine", fields=["model_path"])

    def export_onnx(self, weights: Path, target: Path, imgsz: int) -> None:
        raise AssertionError


ENGINE: Engine = NoEngine()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "m.onnx")


def looked(ctx: Remembering, model: Path, *images: Path, **params: Any) -> Inferred:
    return infer(ctx, ENGINE, Wish(model, images, Params(**params), "cpu", 1))


def test_each_picture_has_its_boxes_its_size_and_a_drawing(tmp_path: Path, model: Path) -> None:
    ctx = Remembering(tmp_path / "run")
    first = picture(tmp_path / "a cat (1).png", (1, 2))
    second = picture(tmp_path / "b.png", size=(100, 80))
    found = looked(ctx, model, first, second)
    assert (found.names, found.imgsz, found.runtime) == (list(NAMES), 64, "onnxruntime")
    one, none = found.results
    assert [(it.label, [round(value) for value in it.box]) for it in one.detections] == [("bright", [8, 16, 16, 24])]
    assert one.detections[0].confidence > 0.99
    assert (none.detections, none.width, none.height) == ([], 100, 80)
    assert [artifact.name for artifact in ctx.saved] == ["1-a-cat-1.jpg", "2-b.jpg"]
    assert one.output == ctx.saved[0].uri
    with Image.open(ctx.file("1-a-cat-1.jpg")) as shown:
        assert shown.getpixel((12, 23)) != (255, 255, 255)


def test_pictures_are_looked_at_by_the_handful_and_progress_is_told(tmp_path: Path, model: Path) -> None:
    ctx = Remembering(tmp_path / "run")
    images = [picture(tmp_path / f"{number}.png", (number, number)) for number in range(5)]
    found = looked(ctx, model, *images, batch=2, draw=False)
    assert [told.note for told in ctx.told] == [
        "opening the model",
        "2 of 5 pictures",
        "4 of 5 pictures",
        "5 of 5 pictures",
    ]
    assert [round(one.detections[0].box[0]) for one in found.results] == [0, 8, 16, 24, 32]
    assert {one.output for one in found.results} == {None}
    assert ctx.saved == []


def test_the_size_that_is_told_is_the_one_at_which_the_pictures_were_looked_at(tmp_path: Path, model: Path) -> None:
    class Looking:
        names, imgsz, fixed = ("dot",), 64, False

        def find(self, images: Any, conf: float, iou: float, imgsz: int) -> Any:
            seen.append(imgsz)
            return [[] for _ in images]

    class Opening(NoEngine):
        def open(self, weights: Path, device: str) -> Finder:
            return Looking()

    seen: list[int] = []
    shown = [picture(tmp_path / "a.png")]
    (tmp_path / "weights").write_bytes(b"\x80")
    for asked, told in [(70, 96), (None, 64)]:
        wish = Wish(tmp_path / "weights", shown, Params(imgsz=asked, draw=False), "cpu", 1)
        assert infer(Remembering(tmp_path / "run"), Opening(), wish).imgsz == told
        assert seen.pop() == told
    assert looked(Remembering(tmp_path / "run"), model, *shown, imgsz=640).imgsz == 64


def test_a_cancel_ends_it_between_two_handfuls(tmp_path: Path, model: Path) -> None:
    ctx = Remembering(tmp_path / "run", stop=Canceled(), checks=1)
    images = [picture(tmp_path / f"{number}.png") for number in range(3)]
    with pytest.raises(Canceled):
        looked(ctx, model, *images, batch=1)
    assert len(ctx.saved) == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16", "CMYK", "1"])
def test_pictures_of_every_mode_are_looked_at(tmp_path: Path, model: Path, mode: str) -> None:
    image = Image.new("L", (64, 64), 0)
    image.paste(255, (8, 8, 16, 16))
    path = tmp_path / ("x.tiff" if mode in ("CMYK", "I;16") else "x.png")
    image.convert("I" if mode == "I;16" else mode).convert(mode).save(path)
    (one,) = looked(Remembering(tmp_path / "run"), model, path, draw=False).results
    assert (one.width, one.height) == (64, 64)


def test_a_photo_that_lies_on_its_side_is_looked_at_upright(tmp_path: Path, model: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(picture(tmp_path / "a.png", (1, 5))) as upright:
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.jpg", exif=exif, quality=100)
    (one,) = looked(Remembering(tmp_path / "run"), model, tmp_path / "b.jpg", draw=False).results
    assert [round(value) for value in one.detections[0].box] == [8, 40, 16, 48]


def bomb(path: Path, side: int = 20_000) -> Path:
    """Write a small file that says that it is a huge picture."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_bad_pictures_are_named_before_any_is_looked_at(tmp_path: Path, model: Path) -> None:
    ctx = Remembering(tmp_path / "run")
    good, text = picture(tmp_path / "good.png"), tmp_path / "notes.txt"
    text.write_text("no picture")
    with pytest.raises(InvalidInput) as caught:
        looked(ctx, model, good, text, bomb(tmp_path / "bomb.png"))
    assert "images.1: notes.txt: not a picture of BMP, JPEG, PNG, TIFF, WEBP" in caught.value.message
    assert "images.2: bomb.png: more than 80000000 pixels" in caught.value.message
    assert caught.value.data["fields"] == ["images.1", "images.2"]
    assert ctx.told == []


def test_a_picture_of_floating_point_numbers_is_named_before_any_is_looked_at(tmp_path: Path, model: Path) -> None:
    ctx = Remembering(tmp_path / "run")
    Image.new("F", (64, 64), 0.5).save(tmp_path / "depth.tif")
    with pytest.raises(InvalidInput, match=r"images\.1: depth\.tif: its colours are floating"):
        looked(ctx, model, picture(tmp_path / "good.png"), tmp_path / "depth.tif")
    assert ctx.told == []


def test_many_bad_pictures_are_counted(tmp_path: Path, model: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    with pytest.raises(InvalidInput, match="; and 3 more"):
        looked(Remembering(tmp_path / "run"), model, *[text] * 8)


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path, model: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((64, 64), 90).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(InvalidInput, match=r"images\.1: cut\.jpg: the picture is broken: "):
        looked(Remembering(tmp_path / "run"), model, whole, tmp_path / "cut.jpg")


@pytest.mark.parametrize("count", [0, 10_001])
def test_none_and_too_many_are_refused(tmp_path: Path, model: Path, count: int) -> None:
    with pytest.raises(InvalidInput, match="images: 1 to 10000 pictures"):
        looked(Remembering(tmp_path / "run"), model, *[tmp_path / "a.png"] * count)


def test_what_is_no_onnx_is_the_engines(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes((8).to_bytes(8, "little") + b'{"a": 1}')
    with pytest.raises(InvalidInput, match="not weights of mine"):
        looked(Remembering(tmp_path / "run"), tmp_path / "w", picture(tmp_path / "a.png"))


# Drawing.


def test_a_drawing_leaves_the_picture_as_it_was_and_labels_each_box() -> None:
    before = Image.new("RGB", (200, 100))
    shown = drawn(
        before, [Box("cat", 0.9, (20.0, 40.0, 80.0, 90.0)), Box("dog", 0.5, (150.0, 40.0, 190.0, 90.0))], ["cat", "dog"]
    )
    assert before.getcolors() == [(20_000, (0, 0, 0))]
    assert shown.getpixel((50, 40)) == colour_of(0)
    assert shown.getpixel((190, 60)) == colour_of(1)
    assert shown.getpixel((50, 60)) == (0, 0, 0)


def test_classes_have_colours_of_their_own() -> None:
    assert len({colour_of(number) for number in range(40)}) == 40


def test_a_picture_of_sixteen_bits_shows_what_it_shows_in_eight(tmp_path: Path, model: Path) -> None:
    eight = picture(tmp_path / "a.png", (1, 2))
    with Image.open(eight) as image:
        numbers = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(numbers).save(tmp_path / "b.png")
    one, other = looked(Remembering(tmp_path / "run"), model, eight, tmp_path / "b.png").results
    assert other.detections == one.detections


def test_a_picture_longer_than_a_jpeg_can_be_is_refused(tmp_path: Path, model: Path) -> None:
    Image.new("RGB", (65_501, 1)).save(tmp_path / "long.png")
    with pytest.raises(InvalidInput, match="more than 65500 pixels on a side"):
        looked(Remembering(tmp_path / "run"), model, tmp_path / "long.png")


def test_no_more_pictures_are_looked_at_together_than_there_is_room_for() -> None:
    small, large = 100, MOST_PIXELS_AT_ONCE // 2
    assert list(groups([small] * 5, 2, 100)) == [[0, 1], [2, 3], [4]]
    assert list(groups([small, large, large, small, 3 * large, small], 16, 100)) == [[0, 1], [2, 3], [4], [5]]
    assert list(groups([small] * 4, 16, large)) == [[0, 1], [2, 3]]


def test_the_label_of_a_box_is_cut_where_it_would_cover_everything() -> None:
    paper = Image.new("RGB", (100, 100))
    assert drawn(paper, [Box("x" * 200, 0.5, (1, 1, 9, 9))], ()).size == (100, 100)
