"""Sentences out of a text that is still being written, so that each is spoken as soon as it is whole."""

from __future__ import annotations

import re

LONGEST = 300
"""A run of words without an end is spoken in pieces of at most so many characters."""

# A full stop counts only when something follows it: until then it may be that of "3.5". The escapes are closing
# quotation marks, and the full stop, exclamation and question mark of Chinese and Japanese.
_END = re.compile("[.!?…]+[\"'\u201d\u2019)\\]]*(?=\\s)|[\u3002\uff01\uff1f]+|\n")
_NO_END = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|sr|jr|vs|approx|fig|e\.g|i\.e|cf|al)|(?<![\w.])\w|^\s*\d{1,3})\.$", re.IGNORECASE
)
_BREAK = re.compile(r".*[,;:\s]", re.DOTALL)
_MARKUP = re.compile(r"[*_`#>|~]+|^\s*[-+•]\s+", re.MULTILINE)
_SPACE = re.compile(r"\s+")


class Sentences:
    """Takes a text piece by piece and gives its sentences back."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._open = ""

    def add(self, piece: str) -> list[str]:
        """Take the next piece; return the sentences that it completes."""
        self._open += piece
        found, begin = list[str](), 0
        for match in _END.finditer(self._open):
            if not _NO_END.search(self._open[begin : match.end()]):
                found.append(self._open[begin : match.end()])
                begin = match.end()
        self._open = self._open[begin:]
        while len(self._open) > self._longest:
            found.append(self._cut())
        return _spoken(found)

    def rest(self) -> list[str]:
        """Return what is left at the end of the text."""
        left, self._open = self._open, ""
        return _spoken([left])

    def _cut(self) -> str:
        part = self._open[: self._longest]
        match = _BREAK.match(part)
        end = match.end() if match else self._longest
        self._open = self._open[end:]
        return part[:end]


def _spoken(sentences: list[str]) -> list[str]:
    """Return what there is to say of them: without markup, and without those that hold no word."""
    plain = (_SPACE.sub(" ", _MARKUP.sub("", sentence)).strip() for sentence in sentences)
    return [sentence for sentence in plain if any(sign.isalnum() for sign in sentence)]
