"""Secrets stay out of the log."""

from __future__ import annotations

import pytest

from glowplug.telemetry import Redaction


@pytest.mark.parametrize(
    "name", ["token", "worker_token", "API_KEY", "apikey", "Authorization", "password", "client_secret", "set_cookie"]
)
def test_a_field_that_is_called_like_a_secret_is_hidden(name: str) -> None:
    assert Redaction().apply({name: "hunter2"}) == {name: "***"}


@pytest.mark.parametrize("name", ["task", "worker", "seconds", "key", "exit"])
def test_other_fields_are_shown(name: str) -> None:
    assert Redaction().apply({name: "plain"}) == {name: "plain"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:hunter2@host:5672/", "amqp://***@host:5672/"),
        ("got Authorization: Bearer abc.def-123 today", "got Authorization: Bearer *** today"),
        ("basic dXNlcjpwYXNz", "basic ***"),
        ("https://s3/x?X-Amz-Signature=abcdef&part=1", "https://s3/x?X-Amz-Signature=***&part=1"),
        ("https://h/?token=abc", "https://h/?token=***"),
        ("http://host:8000/path", "http://host:8000/path"),
        ("a bearer of good news", "a bearer *** good news"),
    ],
)
def test_a_text_that_looks_like_a_secret_is_hidden_in_part(text: str, shown: str) -> None:
    assert Redaction().text(text) == shown


def test_a_known_value_is_hidden_wherever_it_stands() -> None:
    redaction = Redaction(["hunter2-hunter2"])
    fields = {"error": "refused hunter2-hunter2", "deep": {"list": ["x", "hunter2-hunter2"]}}
    assert redaction.apply(fields) == {"error": "refused ***", "deep": {"list": ["x", "***"]}}


def test_a_very_short_known_value_hides_no_ordinary_words() -> None:
    assert Redaction(["a"]).text("a cat") == "a cat"


def test_secrets_inside_of_values_are_hidden_by_their_names_too() -> None:
    assert Redaction().apply({"request": {"token": "abc", "task": "x"}}) == {"request": {"token": "***", "task": "x"}}


def test_what_is_no_text_passes_unchanged() -> None:
    fields = {"seconds": 1.5, "count": 3, "ready": True, "nothing": None}
    assert Redaction(["hunter2"]).apply(fields) == fields
