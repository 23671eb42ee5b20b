"""Prompts: words mapped to the ten labels that the generator was trained on, and nothing cleverer.

Every word must be a digit ("7"), a run of digits ("42"), a digit's name ("seven", "sevens") or one of the filler
words. The digits make up the picture, in the order they are written: "four two" and "42" are the same prompt.
"""

from __future__ import annotations

import re

from glowplug.errors import InvalidInput

MAX_DIGITS = 8
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VALUES = {name: str(value) for value, name in enumerate(NAMES)} | {"sixes": "6", "zeroes": "0"}
_FILLERS = frozenset(
    {"a", "an", "and", "digit", "digits", "draw", "figure", "figures", "generate", "handwritten", "image", "images"}
    | {"make", "me", "number", "numbers", "of", "paint", "picture", "pictures", "please", "show", "some", "the", "then"}
)
_WORD = re.compile(r"[^\W_]+")


def digits_in(prompt: str) -> str:
    """Return the digits that `prompt` asks for, such as "42".

    Raises:
        InvalidInput: a word is unknown, no digit is named, or more than `MAX_DIGITS` are.
    """
    found, unknown = [], []
    for word in _WORD.findall(prompt.lower()):
        digits = _digits_of(word)
        if digits is None:
            unknown.append(word)
        else:
            found.append(digits)
    text = "".join(found)
    if unknown or not text:
        raise InvalidInput(_refusal(unknown), fields=["prompt"])
    if len(text) > MAX_DIGITS:
        raise InvalidInput(
            f"{len(text)} digits in the prompt; at most {MAX_DIGITS} fit in a picture", fields=["prompt"]
        )
    return text


def _digits_of(word: str) -> str | None:
    if word in _FILLERS:
        return ""
    if word.isascii() and word.isdigit():
        return word
    return _VALUES.get(word) or _VALUES.get(word.removesuffix("s"))


def _refusal(unknown: list[str]) -> str:
    what = f"unknown in the prompt: {', '.join(unknown[:5])[:80]}" if unknown else "the prompt names no digit"
    return f"{what}; what works: {', '.join(NAMES)}, or figures such as 7 and 42"
