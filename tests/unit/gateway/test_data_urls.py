"""Bytes that callers write into an input become artifacts: no row, event or message carries them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import House, house

from glowplug.gateway.data_urls import DataUrl, found, parse, replaced
from glowplug.store import ModelInfo, TaskInfo
from glowplug.testing.artifacts import keys_below, read_all

PICTURE = bytes(range(256)) * 8
WRITTEN = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
FILE = {"type": "string", "format": "artifact"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": FILE,
        "maybe": {"anyOf": [FILE, {"type": "null"}]},
        "many": {"type": "array", "items": FILE},
        "named": {"type": "object", "additionalProperties": FILE},
        "deep": {"$ref": "#/$defs/Deep"},
        "text": {"type": "string"},
        "image2": FILE,
    },
    "$defs": {"Deep": {"type": "object", "properties": {"file": FILE, "more": {"$ref": "#/$defs/Deep"}}}},
}


class TestParsing:
    def test_base64_and_plain_text_are_read(self) -> None:
        assert parse(WRITTEN) == DataUrl(PICTURE, "image/png")
        assert parse("data:text/plain,a%20b") == DataUrl(b"a b", "text/plain")
        assert parse("data:,x") == DataUrl(b"x", "application/octet-stream")
        assert parse("data:text/plain;charset=utf-8;base64,YQ==") == DataUrl(b"a", "text/plain")

    @pytest.mark.parametrize("text", ["", "data:", "data:image/png;base64", "data:;base64,***", "http://x/,y", "a,b"])
    def test_what_is_none_or_broken_is_left(self, text: str) -> None:
        assert parse(text) is None

    def test_the_same_bytes_of_one_owner_have_the_same_place(self) -> None:
        place = DataUrl(b"x", "image/png").key("ann", "secret")
        assert DataUrl(b"x", "image/png").key("ann", "secret") == place
        assert DataUrl(b"y", "image/png").key("ann", "secret") != place
        assert DataUrl(b"x", "any/thing").key("ann", "secret").endswith("/data.bin")

    def test_where_anothers_bytes_are_cannot_be_told_from_the_bytes(self) -> None:
        places = {DataUrl(b"x", "image/png").key(*whose) for whose in (("ann", "s1"), ("bob", "s1"), ("ann", "s2"))}
        assert len(places) == 3


class TestFinding:
    @pytest.mark.parametrize(
        "value",
        [
            {"image": WRITTEN},
            {"maybe": WRITTEN},
            {"many": ["artifact:inputs/1/x", WRITTEN]},
            {"named": {"a": WRITTEN}},
            {"deep": {"file": WRITTEN}},
            {"deep": {"more": {"more": {"file": WRITTEN}}}},
        ],
    )
    def test_it_is_found_wherever_the_schema_wants_a_file(self, value: Any) -> None:
        urls = found(value, SCHEMA)
        assert urls == {WRITTEN: DataUrl(PICTURE, "image/png")}
        assert WRITTEN not in str(replaced(value, {WRITTEN: "artifact:k"}))

    @pytest.mark.parametrize("value", [{"text": WRITTEN}, {"unknown": WRITTEN}, {"image": "artifact:k"}, {"image": 3}])
    def test_text_that_is_meant_as_text_stays(self, value: Any) -> None:
        assert found(value, SCHEMA) == {}

    def test_a_schema_that_turns_in_circles_ends(self) -> None:
        round_and_round = {"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}}
        assert found("data:,x", round_and_round) == {}
        assert found({"image": WRITTEN}, {"properties": {"image": None}}) == {}


LOOK = TaskInfo("echo.look", "Look at it", SCHEMA, {}, short=True)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        await made.worker().register(models=(ModelInfo("echo", "1", (LOOK,)),))
        yield made


async def submit(home: House, value: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await home.client.post("/v1/jobs", json={"task": "echo.look", "input": value}, headers=headers)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


class TestJobs:
    async def test_the_row_has_a_reference_and_the_store_has_the_bytes(self, home: House) -> None:
        job = await submit(home, {"image": WRITTEN, "text": "see"})
        assert job["input"]["text"] == "see"
        key = job["input"]["image"].removeprefix("artifact:")
        assert await read_all(home.artifacts, key) == PICTURE
        assert (await home.client.get(f"/v1/artifacts/{key}")).headers["content-type"] == "image/png"
        assert "base64" not in str((await home.store.job(job["id"])).input)

    async def test_the_same_picture_twice_is_stored_once(self, home: House) -> None:
        job = await submit(home, {"image": WRITTEN, "image2": WRITTEN})
        assert job["input"]["image"] == job["input"]["image2"]
        assert len(await keys_below(home.artifacts, "inputs")) == 1

    async def test_a_repeated_request_is_the_same_request(self, home: House) -> None:
        first = await submit(home, {"image": WRITTEN}, **{"idempotency-key": "k"})
        assert (await submit(home, {"image": WRITTEN}, **{"idempotency-key": "k"}))["id"] == first["id"]

    async def test_a_broken_one_is_left_for_the_model_to_refuse(self, home: House) -> None:
        job = await submit(home, {"image": "data:;base64,***"})
        assert job["input"]["image"] == "data:;base64,***"
