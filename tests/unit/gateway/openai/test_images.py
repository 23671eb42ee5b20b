"""Pictures in OpenAI's words."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
import pytest
from PIL import Image

from glowplug.errors import InvalidInput, TaskFailed
from glowplug.gateway.openai.images import answer, encoded, given, keys, wants
from glowplug.gateway.openai.shapes import ImageRequest
from glowplug.store import TaskInfo


def task(*names: str) -> TaskInfo:
    return TaskInfo("i.generate", input_schema={"properties": {name: {} for name in ("prompt", *names)}})


FULL = task("count", "width", "height", "seed", "steps", "guidance", "negative_prompt")


def wish(**body: Any) -> ImageRequest:
    return msgspec.convert({"model": "i", "prompt": "a cat", **body}, ImageRequest)


def asked(of: TaskInfo = FULL, **body: Any) -> dict[str, Any]:
    return given(of, wish(**body), {"model": "i", "prompt": "a cat", **body})


def png(mode: str = "RGB") -> bytes:
    target = BytesIO()
    Image.new(mode, (4, 4)).save(target, "PNG")
    return target.getvalue()


class TestGiven:
    def test_a_prompt_is_enough(self) -> None:
        assert asked() == {"prompt": "a cat"}

    def test_a_count_and_a_size_have_other_names(self) -> None:
        assert asked(n=2, size="64x32") == {"prompt": "a cat", "count": 2, "width": 64, "height": 32}

    def test_a_size_of_auto_is_the_models_own(self) -> None:
        assert asked(size="auto") == {"prompt": "a cat"}

    @pytest.mark.parametrize(
        "size", ["", "big", "64", "64x", "0x64", "64x-1", "999999x1", "64X64", "64x64x64", "20000x8"]
    )
    def test_what_is_no_size_is_refused(self, size: str) -> None:
        with pytest.raises(InvalidInput, match="size"):
            asked(size=size)

    def test_one_picture_can_be_had_of_every_task_and_more_of_those_that_count(self) -> None:
        assert asked(task(), n=1) == {"prompt": "a cat"}
        with pytest.raises(InvalidInput, match="one picture at a time"):
            asked(task(), n=2)

    def test_fields_beside_the_protocol_go_to_a_task_that_knows_them(self) -> None:
        body = {"seed": 3, "steps": 4, "guidance": 1.5, "negative_prompt": "dogs", "quality": "high", "width": 9}
        assert asked(**body) == {
            "prompt": "a cat",
            "seed": 3,
            "steps": 4,
            "guidance": 1.5,
            "negative_prompt": "dogs",
        }

    def test_an_output_format_goes_to_a_task_that_makes_it_itself(self) -> None:
        assert asked(task("output_format"), output_format="webp")["output_format"] == "webp"
        assert "output_format" not in asked(output_format="webp")

    @pytest.mark.parametrize("quality", [-1, 101, 10**20])
    def test_what_is_no_quality_is_refused_before_anything_is_painted(self, quality: int) -> None:
        with pytest.raises(InvalidInput, match="output_compression"):
            asked(output_format="jpeg", output_compression=quality)

    def test_a_stream_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="stream"):
            asked(stream=True)


class TestPictures:
    def test_the_pictures_of_a_result(self) -> None:
        assert keys({"images": ["artifact:jobs/1/1/a.png", "artifact:jobs/1/1/b.png"]}) == [
            "jobs/1/1/a.png",
            "jobs/1/1/b.png",
        ]

    @pytest.mark.parametrize(
        "result",
        [None, [], {}, {"images": []}, {"images": "artifact:a"}, {"images": [3]}, {"images": ["a", "artifact:b"]}],
    )
    def test_a_result_without_them_is_the_tasks_fault(self, result: Any) -> None:
        with pytest.raises(TaskFailed, match="images"):
            keys(result)

    def test_a_picture_is_left_alone_where_it_is_what_was_asked_for(self) -> None:
        assert wants(wish(), "image/png") is None
        assert wants(wish(output_format="png"), "image/png") is None
        assert wants(wish(output_format="jpeg"), "image/png") == "image/jpeg"

    @pytest.mark.parametrize(("form", "name"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
    def test_else_it_is_encoded_anew(self, form: str, name: str, mode: str) -> None:
        with Image.open(BytesIO(encoded(png(mode), f"image/{form}", None))) as picture:
            assert (picture.format, picture.size) == (name, (4, 4))

    def test_the_quality_is_the_callers(self) -> None:
        noise = BytesIO()
        Image.effect_noise((64, 64), 90).save(noise, "PNG")
        sizes = [len(encoded(noise.getvalue(), "image/jpeg", quality)) for quality in (5, 50, 95)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2]

    def test_what_is_no_picture_is_the_tasks_fault(self) -> None:
        with pytest.raises(TaskFailed, match="cannot be read"):
            encoded(b"nonsense", "image/jpeg", None)


def test_the_answer_tells_what_the_task_told() -> None:
    result = {"images": ["artifact:a"], "seed": 7, "created": "trick"}
    made = answer(12, [{"b64_json": "x"}], wish(size="8x8", output_format="webp"), result)
    assert made == {
        "created": 12,
        "data": [{"b64_json": "x"}],
        "seed": 7,
        "size": "8x8",
        "output_format": "webp",
    }
