"""What brokers that carry hints send, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.broker import Hint
from glowplug.brokers.messages import LETTER_BYTES, body_of, hint_of, letter
from glowplug.errors import InvalidInput
from glowplug.testing.brokers import failed_job

texts = st.text(min_size=1, max_size=60)


@given(texts, texts.filter(lambda task: task.partition(".")[0] == task), st.integers(-9, 9), st.text(max_size=40))
def test_a_hint_comes_out_as_it_went_in(job_id: str, model: str, priority: int, owner: str) -> None:
    hint = Hint(job_id, f"{model}.a", priority, owner)
    assert hint_of(body_of(hint), model) == hint
    assert hint_of(body_of(hint).encode(), model) == hint


def test_a_message_of_an_older_release_is_read() -> None:
    assert hint_of('{"job_id": "1", "task": "m.a"}', "m") == Hint("1", "m.a")


def said(**changed: Any) -> str:
    return json.dumps({"job_id": "1", "task": "m.a", "priority": 0, "schema_version": 1, **changed})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("1", "not a JSON object"),
        (said(job_id=""), "job_id is missing"),
        (said(job_id=7), "job_id is missing"),
        (said(task=None), "task is missing"),
        (said(task="m." + "x" * 600), "task is missing, or no text of at most 512"),
        (said(priority=True), "priority is no whole number"),
        (said(priority="high"), "priority is no whole number"),
        (said(schema_version=2), "schema_version is not 1"),
        (said(task="n.a"), "of another model"),
    ],
)
def test_what_is_no_hint_is_refused_with_the_reason(body: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        hint_of(body, "m")


def test_an_owner_that_is_no_text_is_left_out() -> None:
    assert hint_of(said(owner=5), "m").owner == ""


def test_a_letter_tells_of_each_attempt() -> None:
    job = failed_job("m.a", attempts=3)
    told = json.loads(letter(job))
    assert [attempt["number"] for attempt in told["attempts"]] == [1, 2, 3]
    assert told["attempts"][0]["error"] == "ValueError: no such thing"
    assert (told["state"], told["owner"], told["metadata"]) == ("failed", "local", {})
    assert told["finished_at"] == "2026-01-01T00:00:00+00:00"


def test_a_letter_that_is_too_long_spares_the_input_first() -> None:
    text = letter(failed_job("m.a", attempts=1, text="x" * LETTER_BYTES))
    assert len(text) < LETTER_BYTES
    told = json.loads(text)
    assert (told["input"], told["metadata"], told["left_out"]) == (None, {}, ["input"])
