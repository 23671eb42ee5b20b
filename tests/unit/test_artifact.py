"""Keys, references and ranges of artifacts, and files as sources."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import (
    PIECE_BYTES,
    Artifact,
    FileChunks,
    checked_key,
    checked_range,
    job_prefix,
    parse_uri,
    references,
)
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.errors import InvalidInput
from glowplug.testing.artifacts import BAD_KEYS

part = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._ +@=-]{0,20}", fullmatch=True)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_with_what_is_allowed(key: str) -> None:
    with pytest.raises(InvalidInput, match="use letters, digits"):
        checked_key(key)


@given(st.lists(part, min_size=1, max_size=5).map("/".join))
def test_a_good_key_survives_a_reference(key: str) -> None:
    artifact = Artifact(key, 1, "0" * 64)
    assert parse_uri(artifact.uri) == key
    assert artifact.name == key.split("/")[-1]


@given(st.text())
def test_no_text_is_both_allowed_and_able_to_leave_its_folder(text: str) -> None:
    try:
        checked_key(text)
    except InvalidInput:
        return
    assert not text.startswith("/")
    assert ".." not in text.split("/")
    assert "\\" not in text
    assert "\x00" not in text


@pytest.mark.parametrize("uri", ["", "jobs/1", "artifact:", "artifact:../x", "http://artifact:x", "Artifact:x"])
def test_what_is_no_reference_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput):
        parse_uri(uri)


def test_references_are_found_anywhere_in_a_value_once_and_in_order() -> None:
    value = {"a": ["artifact:one", {"b": "artifact:two"}], "c": ("artifact:one", "artifact:three"), "d": b"artifact:no"}
    assert references(value) == ["one", "two", "three"]
    assert references("artifact:one") == ["one"]
    assert references([1, None, True, 2.5, "text"]) == []


def test_attempts_of_a_job_have_folders_of_their_own() -> None:
    assert job_prefix("j1", 1) != job_prefix("j1", 2)
    assert checked_key(job_prefix("j1", 1)) == "jobs/j1/1"


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 0), (5, 5), (5, 9)])
def test_a_range_may_be_empty(start: int, end: int | None) -> None:
    checked_range(start, end)


@pytest.mark.parametrize(("start", "end"), [(-1, None), (-5, -1), (5, 4)])
def test_a_range_does_not_run_backwards(start: int, end: int | None) -> None:
    with pytest.raises(InvalidInput):
        checked_range(start, end)


async def test_the_chunks_of_a_file_are_its_bytes_as_often_as_wanted(tmp_path: Path) -> None:
    content = bytes(range(256)) * (PIECE_BYTES // 100)
    (tmp_path / "file").write_bytes(content)
    chunks = FileChunks(tmp_path / "file")
    read = [chunk async for chunk in chunks]
    assert max(map(len, read)) == PIECE_BYTES
    assert b"".join(read) == content
    assert b"".join([chunk async for chunk in chunks.reopen()]) == content


async def test_the_chunks_of_an_absent_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        [chunk async for chunk in FileChunks(tmp_path / "absent")]


async def test_a_store_that_cannot_sign_links_has_none(tmp_path: Path) -> None:
    async with DiskArtifacts(tmp_path) as store:
        assert await store.presign("key", "GET", timedelta(minutes=1)) is None
