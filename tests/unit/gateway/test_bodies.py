"""Bodies and preferences, without a gateway."""

from __future__ import annotations

import msgspec
import pytest
from starlette.requests import Request

from glowplug.errors import InvalidInput, TooLarge, UserError
from glowplug.gateway import bodies
from glowplug.gateway.openai.shapes import EmbeddingsRequest
from glowplug.gateway.schemas import Submit, SubmitBatch


def request(*chunks: bytes, **headers: str) -> Request:
    """Return a request whose body comes in `chunks`."""
    left = list(chunks) or [b""]
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": named}, receive)


class TestReading:
    async def test_the_whole_body_is_read(self) -> None:
        assert await bodies.read(request(b"ab", b"", b"cd"), 4) == b"abcd"

    async def test_a_body_that_says_it_is_too_long_is_not_read_at_all(self) -> None:
        asked = request(b"never read", content_length="100")
        with pytest.raises(TooLarge) as caught:
            await bodies.read(asked, 10)
        assert caught.value.data["limit_bytes"] == 10

    async def test_one_that_says_nothing_is_stopped_on_the_way(self) -> None:
        with pytest.raises(TooLarge, match="upload it"):
            await bodies.read(request(b"x" * 8, b"x" * 8), 10, "; upload it")

    async def test_nor_is_one_that_lies(self) -> None:
        with pytest.raises(TooLarge):
            await bodies.read(request(b"x" * 100, content_length="5"), 10)


class TestDecoding:
    def test_a_good_body_is_its_value(self) -> None:
        decoder = msgspec.json.Decoder(Submit)
        assert bodies.decode(decoder, b'{"task": "a.b"}') == Submit(task="a.b")

    @pytest.mark.parametrize("body", [b"", b"nonsense", b'{"task"', b"\xff\xfe", b'{"task": "\xff"}'])
    def test_what_is_not_json_is_a_bad_request(self, body: bytes) -> None:
        with pytest.raises(UserError) as caught:
            bodies.decode(msgspec.json.Decoder(Submit), body)
        assert caught.value.status == 400

    def test_another_shape_is_told_with_its_place(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            bodies.decode(msgspec.json.Decoder(SubmitBatch), b'{"jobs": [{"task": "a"}, {"task": 1}]}')
        assert caught.value.data["fields"] == [{"path": "jobs[1].task", "message": "Expected `str`, got `int`"}]

    @pytest.mark.parametrize("word", ["x` - at `$.q`", " - at `" * 100_000, "x" * 1_000_000])
    def test_what_was_sent_is_repeated_in_part_and_is_no_place(self, word: str) -> None:
        with pytest.raises(InvalidInput) as raised:
            bodies.converted(EmbeddingsRequest, {"model": "m", "input": "a", "encoding_format": word})
        (field,) = raised.value.data["fields"]
        assert (field["path"], len(raised.value.message) < 400) == ("encoding_format", True)

    def test_without_a_place_the_reason_stands_alone(self) -> None:
        with pytest.raises(InvalidInput, match=r"^Expected `object`, got `array`$"):
            bodies.decode(msgspec.json.Decoder(Submit), b"[]")


class TestPreferences:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("respond-async", {"respond-async": ""}),
            ("wait=10", {"wait": "10"}),
            ('Respond-Async, wait="10"', {"respond-async": "", "wait": "10"}),
            ("wait=5, wait=10", {"wait": "5"}),
        ],
    )
    def test_the_header_is_read_as_the_standard_says(self, header: str, expected: dict[str, str]) -> None:
        assert bodies.preferences(request(prefer=header)) == expected

    def test_no_header_is_no_preference(self) -> None:
        assert bodies.preferences(request()) == {}

    @pytest.mark.parametrize(
        ("header", "seconds"), [("wait=10", 10.0), ("wait=0.5", 0.5), ("wait=500", 60.0), ("x", 0)]
    )
    def test_a_wait_is_cut_to_the_limit(self, header: str, seconds: float) -> None:
        assert bodies.preferred_wait_seconds(request(prefer=header), 60.0) == seconds
