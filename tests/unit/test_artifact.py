"""References to stored bytes: keys that are safe as paths, and finding them inside JSON."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glowplug.artifact import (
    MAX_KEY_LENGTH,
    PIECE_BYTES,
    Artifact,
    ArtifactStore,
    FileChunks,
    checked_key,
    checked_range,
    job_prefix,
    named_in,
    parse_uri,
    references,
)
from glowplug.errors import InvalidInput

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["artifact:a", "artifact:b/c"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_reference_is_its_key_behind_the_scheme() -> None:
    artifact = Artifact("jobs/1/2/a.png", 3, "0" * 64, "image/png")
    assert (artifact.uri, artifact.name) == ("artifact:jobs/1/2/a.png", "a.png")
    assert parse_uri(artifact.uri) == artifact.key


@pytest.mark.parametrize(
    "uri", ["jobs/1/a", "http://x/a", "Artifact:a", "artifact:", "artifact:../a", "artifact:/a", ""]
)
def test_what_is_no_reference_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput):
        parse_uri(uri)


@pytest.mark.parametrize(
    "key", ["a", "a/b/c.png", "inputs/1/My picture (1).png".replace("(1)", "1"), "a@b+c=d", "0-_."]
)
def test_a_plain_key_is_kept_as_it_is(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\x00",
        "a\n",
        "~/a",
        "ä",
        "a:b",
        "a" * 600,
    ],
)
def test_a_key_that_could_lead_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        checked_key(key)


@given(st.text(max_size=MAX_KEY_LENGTH + 50))
@example("a/../../etc/passwd")
@example("a" * (MAX_KEY_LENGTH + 1))
def test_a_key_that_passes_stays_below_the_folder_it_is_joined_to(key: str) -> None:
    try:
        checked_key(key)
    except InvalidInput:
        return
    path = PurePosixPath("/root") / key
    assert path.as_posix() == f"/root/{key}"
    assert ".." not in path.parts
    assert len(key) <= MAX_KEY_LENGTH


def test_attempts_of_a_job_write_beside_each_other() -> None:
    assert job_prefix("ab", 1) == "jobs/ab/1"
    assert not job_prefix("ab", 11).startswith(job_prefix("ab", 1) + "/")


def test_references_are_found_in_order_wherever_they_are() -> None:
    value = {"a": ["artifact:x", {"b": "artifact:y"}], "c": "artifact:x", "d": "not artifact:z", "e": ("artifact:w",)}
    assert references(value) == ["x", "y", "w"]


@pytest.mark.parametrize("value", [None, 1, "text", b"artifact:x", [], {}, {"artifact:key": 1}])
def test_where_there_are_none_none_are_found(value: Any) -> None:
    assert references(value) == []


@given(json_values)
def test_no_value_is_too_strange_to_look_into(value: Any) -> None:
    found = references(value)
    assert len(set(found)) == len(found)
    assert references([value, value]) == found


WANTED = {
    "$defs": {"Pair": {"type": "array", "prefixItems": [{"type": "string"}, {"format": "artifact"}]}},
    "properties": {
        "prompt": {"type": "string"},
        "image": {"anyOf": [{"type": "string", "format": "artifact"}, {"type": "null"}]},
        "sets": {"items": {"type": "string", "format": "artifact-folder"}},
        "pair": {"$ref": "#/$defs/Pair"},
        "named": {"additionalProperties": {"format": "artifact"}},
    },
}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"prompt": "artifact:a", "image": "artifact:b"}, ["b"]),
        ({"sets": ["artifact:a/", "artifact:b/", "artifact:a/", "c"]}, ["a/", "b/"]),
        ({"pair": ["artifact:a", "artifact:b", "artifact:c"]}, ["b"]),
        ({"pair": ["artifact:a"], "named": {"x": "artifact:../y", "artifact:z": 1}}, ["../y"]),
        ({"image": ["artifact:a"], "unknown": {"image": "artifact:b"}}, []),
        ("artifact:a", []),
    ],
)
def test_an_input_names_files_where_its_schema_wants_them(value: Any, named: list[str]) -> None:
    assert named_in(value, WANTED) == named


@given(json_values)
def test_without_a_schema_all_that_looks_like_a_reference_is_one(value: Any) -> None:
    assert named_in(value, {}) == named_in(value, {"type": "object"}) == references(value)
    assert named_in(value, {"properties": {}}) == []
    assert set(named_in(value, WANTED)) <= set(references(value))


def test_looking_does_not_go_as_deep_as_the_stack() -> None:
    value: Any = "artifact:x"
    for _ in range(100_000):
        value = [value]
    assert references(value) == ["x"]


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 0), (5, 5), (5, 6)])
def test_a_range_may_be_empty_or_open(start: int, end: int | None) -> None:
    checked_range(start, end)


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4), (0, -1)])
def test_a_range_that_is_none_is_refused(start: int, end: int | None) -> None:
    with pytest.raises(InvalidInput):
        checked_range(start, end)


async def test_a_file_is_read_in_pieces_and_again_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (2 * PIECE_BYTES + 7))
    chunks = FileChunks(path)
    assert len(await anext(chunks)) == PIECE_BYTES
    for source in (chunks, chunks.reopen()):
        rest = [len(piece) async for piece in source]
        assert rest[-2:] == [PIECE_BYTES, 7]


async def test_an_empty_file_has_no_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [piece async for piece in FileChunks(tmp_path / "file")] == []


async def test_a_store_that_cannot_make_links_makes_none_but_still_checks_the_key() -> None:
    presign = ArtifactStore.presign
    assert await presign(object(), "a/b", "GET", timedelta(minutes=1)) is None  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        await presign(object(), "../a", "GET", timedelta(minutes=1))  # type: ignore[arg-type]
