"""Problems: the one shape in which HTTP callers get an error."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.errors import (
    Conflict,
    GlowplugError,
    InvalidInput,
    LoadFailed,
    NotFound,
    NotReady,
    RateLimited,
    Unavailable,
    error_classes,
)
from glowplug.problem import passes, problem_body, retry_after, told_data, told_fields


def test_a_problem_has_the_standard_members_and_the_data_of_its_error() -> None:
    assert problem_body(NotFound("no such job", job="j1")) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such job",
        "code": "not_found",
        "retryable": False,
        "job": "j1",
    }


def test_data_never_hides_a_standard_member() -> None:
    assert problem_body(Conflict("taken", status=200, detail="fine"))["status"] == 409
    assert problem_body(Conflict("taken", status=200, detail="fine"))["detail"] == "taken"


@pytest.mark.parametrize("kind", error_classes().values())
def test_every_error_has_a_problem(kind: Any) -> None:
    assert problem_body(kind("what and why"))["status"] == kind.status


@pytest.mark.parametrize(
    ("said", "whole"), [(None, 2), (0, 1), (0.2, 1), (3.2, 4), (30, 30), (600, 30), ("soon", 2), (-1, 1)]
)
def test_when_to_ask_again_is_in_whole_seconds_from_1_to_30(said: Any, whole: int) -> None:
    error = NotReady("loading") if said is None else NotReady("loading", retry_after=said)
    assert retry_after(error) == whole
    assert problem_body(error)["retry_after"] == whole


@pytest.mark.parametrize("error", [LoadFailed("no weights"), Unavailable("no microphone"), Conflict("taken")])
def test_what_never_passes_by_itself_names_no_time(error: GlowplugError) -> None:
    assert not passes(error)
    assert "retry_after" not in problem_body(error)


class TestFields:
    @pytest.mark.parametrize(
        "said",
        [
            ["size"],
            ("size",),
            [{"path": "size"}],
            [{"loc": "size", "msg": "too large"}],
            [{"loc": ("size",), "msg": "too large"}],
            [{"path": "size", "message": "too large", "more": 1}],
            [None, 3, {"path": 3}, "size"],
        ],
    )
    def test_have_one_shape_however_an_error_names_them(self, said: object) -> None:
        error = InvalidInput("size: too large", fields=said, limit=9)
        body = problem_body(error)
        assert (body["fields"], body["limit"]) == ([{"path": "size", "message": "too large"}], 9)

    def test_each_has_a_reason_of_its_own_or_that_of_the_whole(self) -> None:
        error = InvalidInput("width and height: too large", fields=["width", {"path": "height", "message": "9 > 8"}])
        assert told_fields(error) == [
            {"path": "width", "message": "width and height: too large"},
            {"path": "height", "message": "9 > 8"},
        ]

    @pytest.mark.parametrize(
        ("message", "path"),
        [
            ("size: too large", "size"),
            ("size=63: no multiple of 8", "size"),
            ("size.0.width: too big", "size.0.width"),
        ],
    )
    def test_where_there_are_none_the_message_may_begin_with_a_parameter(self, message: str, path: str) -> None:
        (field,) = told_fields(InvalidInput(message), ("size",))
        assert field["path"] == path
        assert told_fields(InvalidInput(message)) == []

    @pytest.mark.parametrize("message", ["the size: too large", "sizes: too large", "size", "size : x", ""])
    def test_other_messages_name_nothing(self, message: str) -> None:
        assert told_fields(InvalidInput(message), ("size",)) == []

    @pytest.mark.parametrize("said", ["size", 3, None, {"path": "size"}])
    def test_what_is_no_list_names_nothing(self, said: object) -> None:
        assert problem_body(InvalidInput("x", fields=said))["fields"] == []

    def test_an_error_without_fields_has_none(self) -> None:
        assert told_data(NotFound("no such job", job="j1")) == {"job": "j1"}


def test_who_asked_too_often_is_told_when_to_ask_again() -> None:
    assert problem_body(RateLimited("a moment ago", retry_after=4.1))["retry_after"] == 5
