"""An answer that is an error becomes our own exception."""

from __future__ import annotations

import json
from typing import Any

import pytest

from glowplug.client.problems import error_of
from glowplug.errors import (
    Forbidden,
    GlowplugError,
    InvalidInput,
    NotFound,
    NotReady,
    RemoteError,
    TooLarge,
    Unauthorized,
    UserError,
    error_classes,
)
from glowplug.problem import told_error


def body(**problem: Any) -> bytes:
    return json.dumps(problem).encode()


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_every_error_of_ours_comes_back_as_itself(code: str) -> None:
    kind = error_classes()[code]
    error = error_of(kind.status, {}, body(code=code, detail="no way", status=kind.status))
    assert type(error) is kind
    assert error.message == "no way"


def test_what_was_said_beside_comes_back_as_data() -> None:
    error = error_of(422, {}, body(code="invalid_input", detail="no", fields=[{"path": "x"}], retryable=False))
    assert isinstance(error, InvalidInput)
    assert error.data == {"fields": [{"path": "x"}]}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UserError),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, UserError),
        (413, TooLarge),
        (425, NotReady),
        (500, RemoteError),
        (502, RemoteError),
        (503, NotReady),
    ],
)
@pytest.mark.parametrize("content", [b"", b"<html>oops</html>", b'{"detail": "no"}', b"[1]", b"\xff\xfe", b'"text"'])
def test_a_body_that_is_no_problem_is_judged_by_its_status(
    status: int, kind: type[GlowplugError], content: bytes
) -> None:
    error = error_of(status, {}, content)
    assert type(error) is kind
    assert error.message


def test_a_plain_text_is_the_message_but_not_all_of_it() -> None:
    assert error_of(400, {}, b"just so").message == "just so"
    assert len(error_of(400, {}, b"x" * 100_000).message) <= 500


def test_a_code_that_nobody_knows_is_judged_by_its_status() -> None:
    assert type(error_of(404, {}, body(code="brand_new", detail="no"))) is NotFound


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("", None), ("-1", None)])
def test_the_header_says_when_to_come_back(header: str, seconds: float | None) -> None:
    assert error_of(503, {"retry-after": header}, b"").data.get("retry_after") == seconds


def test_the_body_knows_better_when_to_come_back() -> None:
    assert error_of(503, {"retry-after": "7"}, body(retry_after=3)).data["retry_after"] == 3


@pytest.mark.parametrize("problem", [{}, {"status": "many"}, {"detail": None, "title": None}, {"code": 7}])
def test_a_problem_that_says_nothing_is_an_error_all_the_same(problem: dict[str, Any]) -> None:
    assert isinstance(told_error(problem), RemoteError)


def test_data_that_is_called_like_the_message_cannot_break_it() -> None:
    assert told_error({"code": "conflict", "detail": "no", "message": "other", "status": 409}).message == "no"


def test_data_with_any_name_is_kept() -> None:
    assert told_error({"detail": "no", "self": 1, "kind": 2}).data == {"self": 1, "kind": 2}
