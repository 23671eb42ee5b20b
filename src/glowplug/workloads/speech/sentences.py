"""Cutting what is too long for an engine to say at once."""

from __future__ import annotations

import re

_CLAUSE_END = re.compile(r"[,;:\N{EM DASH}](?=\s)")


def bounded(sentence: str, longest: int) -> list[str]:
    """Cut a sentence into parts of at most `longest` characters: after a comma, else at a space, else within a word."""
    parts = []
    rest = sentence.strip()
    while len(rest) > longest:
        head = rest[:longest]
        clauses = [found.end() for found in _CLAUSE_END.finditer(head)]
        cut = clauses[-1] if clauses else head.rfind(" ")
        cut = cut if cut > 0 else longest
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [*parts, rest] if rest else parts


def has_words(text: str) -> bool:
    """Say whether there is a letter or a figure in `text`."""
    return any(character.isalnum() for character in text)
