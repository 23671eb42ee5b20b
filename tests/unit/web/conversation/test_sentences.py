"""Sentences come out whole, early, and fit to be spoken."""

from __future__ import annotations

import pytest

from glowplug.web.conversation.sentences import Sentences


def split(*pieces: str, longest: int = 300) -> list[str]:
    sentences = Sentences(longest)
    return [sentence for piece in pieces for sentence in sentences.add(piece)] + sentences.rest()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Yes. No. Oh no. So.", ["Yes.", "No.", "Oh no.", "So."]),
        ("Really?! Well…  then.", ["Really?!", "Well…", "then."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("It is 3.5 metres. Or 4.", ["It is 3.5 metres.", "Or 4."]),
        ("Dr. Smith met Mr. Jones. Fine.", ["Dr. Smith met Mr. Jones.", "Fine."]),
        ("J. R. Tolkien wrote it. Yes.", ["J. R. Tolkien wrote it.", "Yes."]),
        ("Fruit, e.g. apples. Good.", ["Fruit, e.g. apples.", "Good."]),
        ("1. Boil water\n2. Add tea", ["1. Boil water", "2. Add tea"]),
        ("今日は。元気?", ["今日は。", "元気?"]),
        ("**Bold** and `code`. # Title", ["Bold and code.", "Title"]),
        ("- one\n- two", ["one", "two"]),
        ("...\n\n***", []),
        ("", []),
        ("no end", ["no end"]),
    ],
)
def test_a_text_is_cut_where_a_person_would_pause(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


@pytest.mark.parametrize("text", ["Yes. No, 3.5 of them. Dr. Who?", "One!\nTwo (or three). Four"])
def test_it_does_not_matter_in_which_pieces_a_text_comes(text: str) -> None:
    assert split(*text) == split(text)


def test_a_sentence_is_given_as_soon_as_the_next_one_begins() -> None:
    sentences = Sentences()
    assert sentences.add("Yes.") == []
    assert sentences.add(" ") == ["Yes."]


def test_words_without_an_end_are_spoken_in_pieces() -> None:
    found = split("word " * 100, longest=40)
    assert " ".join(found) == ("word " * 100).strip()
    assert max(map(len, found)) <= 40


def test_one_word_without_an_end_is_cut_in_its_midst() -> None:
    assert split("x" * 95, longest=40) == ["x" * 40, "x" * 40, "x" * 15]
