"""Cutting what is too long to be said at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.workloads.speech.sentences import bounded, has_words


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("short", ["short"]),
        ("  ", []),
        ("one, two three four", ["one,", "two three", "four"]),
        ("one two three four", ["one two", "three four"]),
        ("a" * 25, ["a" * 10, "a" * 10, "a" * 5]),
        ("1,000,000,000", ["1,000,000,", "000"]),
    ],
)
def test_it_is_cut_after_a_comma_or_at_a_space_or_within_a_word(sentence: str, parts: list[str]) -> None:
    assert bounded(sentence, 10) == parts


@given(st.text(max_size=300), st.integers(1, 40))
def test_nothing_but_space_is_lost_and_nothing_is_longer_than_asked(sentence: str, longest: int) -> None:
    parts = bounded(sentence, longest)
    assert all(0 < len(part) <= longest for part in parts)
    assert "".join("".join(parts).split()) == "".join(sentence.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [("?!", False), ("😀 …", False), ("", False), ("7", True), ("é", True), ("你", True), ("a.", True)],
)
def test_letters_and_figures_are_words(text: str, words: bool) -> None:
    assert has_words(text) is words
