"""Which texts go through the network together: those of like length, as many as a budget of tokens allows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def passes(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield the numbers of the texts of each pass, the longest first; each text is in one of them.

    Texts of a pass are padded to its longest: `budget` bounds what that makes of them. A text that is longer than that
    goes alone.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    begin = 0
    while begin < len(order):
        count = max(1, budget // max(1, lengths[order[begin]]))
        yield order[begin : begin + count]
        begin += count
