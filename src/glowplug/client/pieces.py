"""Read a file piece by piece without holding it open between the pieces."""

from __future__ import annotations

import os
from pathlib import Path


def read_piece(path: str | os.PathLike[str], offset: int, size_bytes: int) -> bytes:
    """Read `size_bytes` of a file from `offset`, fewer at its end, and leave no open file behind."""
    # A file that is opened in one thread and read in the next stays open if its reader is cancelled in between.
    with Path(path).open("rb") as stream:
        stream.seek(offset)
        return stream.read(size_bytes)
