"""Values that came over a wire: what fits is read, what does not is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from glowplug.errors import InvalidInput
from glowplug.readiness.state import Status
from glowplug.readiness.wire import LONGEST_TEXT, Reader, present, written


def read(**data: Any) -> Reader:
    return Reader(data, "thing")


@pytest.mark.parametrize("data", [None, 3, "text", ["list"]])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="thing must be an object"):
        Reader(data, "thing")


def test_absent_fields_read_as_nothing() -> None:
    empty = read()
    assert empty.text("a") is None
    assert empty.number("a") is None
    assert empty.moment("a") is None
    assert empty.part("a", lambda part: part) is None
    assert empty.parts("a", lambda part: part) == ()
    assert empty.flag("a") is False
    assert empty.word("a", Status, Status.PENDING) is Status.PENDING


def test_fields_are_read_by_type() -> None:
    assert read(a="x").text("a") == "x"
    assert read(a=3).number("a") == 3.0
    assert read(a=True).flag("a") is True
    assert read(a="ready").word("a", Status, Status.PENDING) is Status.READY


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 3),
        ("text", ["x"]),
        ("number", "3"),
        ("number", True),
        ("number", float("nan")),
        ("number", float("inf")),
        ("flag", 1),
        ("flag", "false"),
        ("moment", "yesterday"),
        ("moment", 17),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(method: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="thing: field"):
        getattr(read(field=value), method)("field")


def test_an_unknown_word_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="unknown status 'zombie'"):
        read(status="zombie").word("status", Status, Status.PENDING)


def test_a_list_of_the_wrong_things_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"thing\.parts must be an object"):
        read(parts=[1]).parts("parts", lambda part: part.text("a"))
    with pytest.raises(InvalidInput, match="parts has the wrong type"):
        read(parts={"a": 1}).parts("parts", lambda part: part.text("a"))


def test_nested_objects_are_read_by_the_given_function() -> None:
    data = read(one={"a": "x"}, many=[{"a": "y"}, {"a": "z"}])
    assert data.part("one", lambda part: part.text("a")) == "x"
    assert data.parts("many", lambda part: part.text("a")) == ("y", "z")


def test_long_text_is_cut() -> None:
    assert len(read(a="x" * 10_000).text("a") or "") == LONGEST_TEXT


def test_a_moment_is_written_in_utc_with_a_z_and_read_back() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
    assert written(moment) == "2026-03-04T05:06:07.890Z"
    assert read(a=written(moment)).moment("a") == moment


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    east = datetime(2026, 3, 4, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert written(east) == "2026-03-04T10:00:00.000Z"
    assert read(a="2026-03-04T12:00:00+02:00").moment("a") == east


def test_a_moment_without_a_zone_is_taken_as_utc() -> None:
    assert read(a="2026-03-04T12:00:00").moment("a") == datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_no_moment_is_written_as_nothing() -> None:
    assert written(None) is None


def test_absent_facts_are_absent_and_zeros_are_facts() -> None:
    assert present(a=None, b="", c=0, d=False, e="x") == {"c": 0, "d": False, "e": "x"}
