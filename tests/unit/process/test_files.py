"""File parameters see the call's own files and nothing else."""

from __future__ import annotations

import base64
import contextlib
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glowplug.process import files
from glowplug.process.files import Files


def pictured(kind: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, "red").save(stream, kind)
    return stream.getvalue()


def url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
def opener(tmp_path: Path) -> Files:
    (tmp_path / "local.png").write_bytes(pictured())
    return Files({"artifact:in/a.png": str(tmp_path / "local.png")}, lambda: tmp_path)


def test_a_reference_gives_the_local_copy(opener: Files, tmp_path: Path) -> None:
    assert opener.open_file("artifact:in/a.png", "file") == tmp_path / "local.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_the_usual_kinds_are_decoded(opener: Files, kind: str) -> None:
    image: Any = opener.open_file(url(pictured(kind)), "image")
    assert image.size == (4, 3)


def test_data_urls_become_files_of_the_calls_own(opener: Files, tmp_path: Path) -> None:
    first: Any = opener.open_file("data:text/plain,a%20b", "file")
    second: Any = opener.open_file("data:;base64,Yw==", "file")
    assert (first.read_bytes(), second.read_bytes()) == (b"a b", b"c")
    assert {first.parent, second.parent} == {tmp_path}
    assert first != second


@pytest.mark.parametrize(
    "value",
    [
        "artifact:other",
        "/etc/passwd",
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://somewhere/x",
        "",
        "data:image/png",
        "data:image/png;base64,!!!",
        None,
        5,
        ["artifact:in/a.png"],
    ],
)
@pytest.mark.parametrize("kind", ["file", "image"])
def test_nothing_else_is_opened(opener: Files, value: object, kind: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        opener.open_file(value, kind)


def test_a_folder_is_handed_over_as_one_and_only_where_one_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cat.png").write_bytes(pictured())
    opener = Files({"artifact:s/cats/": str(tmp_path / "cats"), "artifact:cat.png": str(tmp_path / "cat.png")}, Path)
    assert opener.open_file("artifact:s/cats/", "folder") == tmp_path / "cats"
    with pytest.raises(ValueError, match="a file is expected"):
        opener.open_file("artifact:s/cats/", "file")
    with pytest.raises(ValueError, match="a folder is expected, with a slash at its end"):
        opener.open_file("artifact:cat.png", "folder")
    with pytest.raises(ValueError, match="not a reference"):
        opener.open_file("data:text/plain,a", "folder")


@pytest.mark.parametrize("value", ["my/data/", "data:,x"])
def test_where_a_folder_is_wanted_its_form_is_told(opener: Files, value: str) -> None:
    with pytest.raises(ValueError, match=f"not a reference to a folder \\('artifact:FOLDER/'\\): {value}"):
        opener.open_file(value, "folder")


def test_a_path_is_not_opened_even_if_it_is_the_local_copy(opener: Files, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a reference"):
        opener.open_file(str(tmp_path / "local.png"), "file")


@pytest.mark.parametrize("cut", [0, 1, 8, 20, 45])
def test_a_broken_picture_is_refused(opener: Files, cut: int) -> None:
    with pytest.raises(ValueError, match="image"):
        opener.open_file(url(pictured()[:cut]), "image")


def test_a_picture_in_a_format_that_starts_programs_is_refused(opener: Files) -> None:
    with pytest.raises(ValueError, match="not an image of PNG"):
        opener.open_file(url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n"), "image")


@pytest.mark.parametrize("limit", [11, 5])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    opener: Files, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(files, "LARGEST_PIXELS", limit)
    with pytest.raises(ValueError, match="more than"):
        opener.open_file(url(pictured()), "image")


def test_a_decompression_bomb_is_refused(opener: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(ValueError, match="pixels"):
        opener.open_file(url(pictured()), "image")


def test_a_data_url_has_a_limit(opener: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_DATA_BYTES", 30)
    with pytest.raises(ValueError, match="upload an artifact instead"):
        opener.open_file(url(pictured()), "image")


def test_a_picture_file_beyond_the_limit_is_refused_before_it_is_read(opener: Files, tmp_path: Path) -> None:
    with (tmp_path / "local.png").open("r+b") as file:
        file.truncate(files.LARGEST_PICTURE_BYTES + 1)
    with pytest.raises(ValueError, match="more than"):
        opener.open_file("artifact:in/a.png", "image")


@pytest.mark.parametrize("error", [TypeError("'float' object"), KeyError(1), struct.error("short"), zlib.error("bad")])
def test_whatever_a_decoder_stumbles_over_is_a_broken_picture(
    opener: Files, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", stumble)
    with pytest.raises(ValueError, match="the image is broken"):
        opener.open_file(url(pictured()), "image")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_picture_with_a_colour_that_is_no_number_is_refused(opener: Files, number: float) -> None:
    picture = Image.new("F", (4, 3), 3e38)
    stream = BytesIO()
    picture.save(stream, "TIFF")
    whole: Any = opener.open_file(url(stream.getvalue()), "image")
    assert whole.getpixel((0, 0)) == pytest.approx(3e38)
    picture.putpixel((2, 2), number)
    picture.save(stream := BytesIO(), "TIFF")
    with pytest.raises(ValueError, match="no finite numbers"):
        opener.open_file(url(stream.getvalue()), "image")


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_a_picture_whose_text_or_profile_unpacks_without_end_is_refused(opener: Files, chunk: bytes) -> None:
    swollen = b"a\0\0" + zlib.compress(b"a" * (8 << 20), 9)
    length, check = struct.pack(">I", len(swollen)), struct.pack(">I", zlib.crc32(chunk + swollen))
    head = 8 + 25
    data = pictured()
    with pytest.raises(ValueError, match="too large"):
        opener.open_file(url(data[:head] + length + chunk + swollen + check + data[head:]), "image")


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_picture_is_a_picture_or_the_callers_error(data: st.DataObject) -> None:
    damaged = bytearray(pictured(data.draw(st.sampled_from(files.FORMATS))))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    opener = Files({}, Path)
    with contextlib.suppress(ValueError):
        assert opener.open_file(url(bytes(damaged)), "image") is not None
