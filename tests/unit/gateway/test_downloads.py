"""Ranges, validators and media types, without a gateway."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from glowplug.artifact import Stat
from glowplug.gateway.downloads import SHOWN, Span, Unsatisfiable, asked_range, etag, stated_media_type
from glowplug.gateway.shelf import Found

STAT = Stat("inputs/1/a.png", 1000, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 1000),
        ("bytes=10-19", 10, 20),
        ("bytes=990-5000", 990, 1000),
        ("bytes=-10", 990, 1000),
        ("bytes=-5000", 0, 1000),
        (" bytes=1-2 ", 1, 3),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str, start: int, end: int) -> None:
    assert asked_range(header, 1000) == Span(start, end, 1000)


@pytest.mark.parametrize(
    "header", [None, "", "bytes=-", "bytes=5-3", "bytes=1-2,5-6", "items=1-2", "bytes=a-b", "bytes=1", "x" * 10_000]
)
def test_what_is_no_single_range_gets_the_whole(header: str | None) -> None:
    assert asked_range(header, 1000) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_without_a_single_byte_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked_range(header, 1000)


def test_no_range_of_nothing_can_be_satisfied() -> None:
    with pytest.raises(Unsatisfiable):
        asked_range("bytes=0-", 0)


def test_a_span_names_its_last_byte() -> None:
    assert Span(10, 20, 1000).content_range == "bytes 10-19/1000"


def test_the_validator_is_the_hash_where_it_is_known() -> None:
    assert etag(Found(STAT, "image/png", "abc")) == '"abc"'


def test_else_it_changes_with_size_and_time() -> None:
    later = Stat(STAT.key, 1000, STAT.modified_at + timedelta(milliseconds=1))
    larger = Stat(STAT.key, 1001, STAT.modified_at)
    tags = {etag(Found(stat, "image/png")) for stat in (STAT, later, larger)}
    assert len(tags) == 3
    assert all(tag.startswith('W/"') for tag in tags)


@pytest.mark.parametrize("media_type", ["image/png", "audio/mpeg", "video/mp4", "text/plain", "application/json"])
def test_harmless_formats_are_shown(media_type: str) -> None:
    assert SHOWN.fullmatch(media_type)


@pytest.mark.parametrize(
    "media_type", ["image/svg+xml", "text/html", "application/xhtml+xml", "text/xml", "image/png;x"]
)
def test_formats_that_can_carry_a_script_are_not(media_type: str) -> None:
    assert not SHOWN.fullmatch(media_type)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("image/png", "image/png"),
        ("Image/PNG; q=1", "image/png"),
        ("application/octet-stream", None),
        ("application/x-www-form-urlencoded", None),
        ("", None),
        (None, None),
        ("nonsense", None),
        ('image/png"\r\nx: y', None),
    ],
)
def test_a_stated_media_type_counts_when_it_means_something(header: str | None, expected: str | None) -> None:
    assert stated_media_type(header) == expected


@given(some.integers(0, 50), some.text(alphabet="bytes=0123456789-, x", max_size=20))
def test_whatever_is_asked_for_a_span_lies_within_the_object(size: int, tail: str) -> None:
    for header in (tail, f"bytes={tail}"):
        try:
            span = asked_range(header, size)
        except Unsatisfiable:
            continue
        assert span is None or 0 <= span.start < span.end <= size
