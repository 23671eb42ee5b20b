"""Answers: flat bodies, problems, and JSON that never fails over what a model said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glowplug.errors import Conflict, Draining, GlowplugError, RateLimited, Unauthorized
from glowplug.web.answers import encoded, flat, plain, problem


def test_what_utf_8_cannot_hold_becomes_a_question_mark() -> None:
    assert json.loads(encoded({"error": "no file named caf\udce9"})) == {"error": "no file named caf?"}


def test_line_breaks_in_an_error_do_not_end_an_event_early() -> None:
    assert b"\n" not in encoded({"error": "first\nsecond\r\nthird"})


def test_words_of_all_languages_are_themselves() -> None:
    assert encoded({"error": "Größe 模型"}) == '{"error":"Größe 模型"}'.encode()


def test_what_json_does_not_know_is_told_as_text() -> None:
    assert json.loads(encoded({"path": Path("/models/tts")})) == {"path": "/models/tts"}


def test_numbers_that_json_has_no_word_for_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encoded({"seconds": float("nan")})


def test_an_answer_that_says_when_to_ask_again_says_so_in_the_header_too() -> None:
    answer = flat(425, {"ready": False, "retry_after": 7})
    assert (answer.status_code, answer.headers["retry-after"]) == (425, "7")
    assert answer.headers["access-control-expose-headers"] == "Retry-After"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"


def test_an_answer_of_200_does_not_say_when_to_ask_again() -> None:
    assert "retry-after" not in flat(200, {"ready": False, "retry_after": 7}).headers


def test_what_was_done_for_somebody_is_for_no_page_of_another_origin() -> None:
    assert "access-control-allow-origin" not in plain(202, {"retried": ["tts"]}).headers


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (Unauthorized("a token is needed"), 401, ("www-authenticate", "Bearer")),
        (RateLimited("a moment ago", retry_after=3.2), 429, ("retry-after", "4")),
        (Draining("leaving"), 503, ("retry-after", "2")),
        (Conflict("nothing to retry"), 409, ("content-type", "application/problem+json")),
    ],
)
def test_an_error_is_a_problem_with_the_headers_of_its_kind(
    error: GlowplugError, status: int, header: tuple[str, str]
) -> None:
    answer = problem(error)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["status"], body["code"]) == (status, status, error.code)
    assert answer.headers[header[0]] == header[1]
