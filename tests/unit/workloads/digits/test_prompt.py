"""Words to labels: a small clear rule, and a refusal that says what works."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import InvalidInput
from glowplug.workloads.digits.prompt import MAX_DIGITS, NAMES, digits_in


@pytest.mark.parametrize(
    ("prompt", "digits"),
    [
        ("seven", "7"),
        ("7", "7"),
        ("a three", "3"),
        ("SEVEN!", "7"),
        ("four two", "42"),
        ("42", "42"),
        ("4, 2", "42"),
        ("four-two", "42"),
        ("4 and two", "42"),
        ("007", "007"),
        ("sevens", "7"),
        ("some sixes", "6"),
        ("zeroes", "0"),
        ("please draw me a picture of the handwritten digit nine", "9"),
        ("one  two\tthree\nfour", "1234"),
        ("the number 1984", "1984"),
        ("two of four", "24"),
    ],
)
def test_words_and_figures_become_digits_in_their_order(prompt: str, digits: str) -> None:
    assert digits_in(prompt) == digits


@pytest.mark.parametrize("name", NAMES)
def test_every_label_has_a_name_that_works_alone_and_in_the_plural(name: str) -> None:
    value = str(NAMES.index(name))
    assert digits_in(name) == digits_in(f"handwritten {name}s") == digits_in(value) == value


@pytest.mark.parametrize(
    "prompt", ["a cat", "seven cats", "eleven", "twenty", "red seven", "minus 4", "٣", "七", "7th"]
)
def test_an_unknown_word_is_refused_with_what_works(prompt: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        digits_in(prompt)
    assert "unknown in the prompt" in caught.value.message
    assert all(name in caught.value.message for name in NAMES)
    assert caught.value.data["fields"] == ["prompt"]


@pytest.mark.parametrize("prompt", ["", "   ", "!?", "please draw a picture", "_"])
def test_a_prompt_without_a_digit_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidInput, match="names no digit; what works: zero, one"):
        digits_in(prompt)


def test_the_longest_number_fits_and_one_digit_more_is_refused() -> None:
    assert digits_in("1" * MAX_DIGITS) == "1" * MAX_DIGITS
    with pytest.raises(InvalidInput, match="9 digits in the prompt; at most 8"):
        digits_in("1" * (MAX_DIGITS + 1))


def test_the_refusal_stays_short_however_long_the_prompt_is() -> None:
    with pytest.raises(InvalidInput) as caught:
        digits_in("cat " * 40 + "x" * 5000)
    assert len(caught.value.message) < 300


@given(st.text(alphabet="0123456789", min_size=1, max_size=MAX_DIGITS))
def test_digits_spelled_out_are_the_same_prompt_as_figures(digits: str) -> None:
    spelled = " ".join(NAMES[int(digit)] for digit in digits)
    assert digits_in(spelled) == digits_in(digits) == digits


@given(st.text(max_size=200))
def test_any_text_gives_digits_or_a_refusal(prompt: str) -> None:
    try:
        digits = digits_in(prompt)
    except InvalidInput:
        return
    assert 1 <= len(digits) <= MAX_DIGITS
    assert set(digits) <= set("0123456789")
