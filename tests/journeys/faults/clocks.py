"""Where the library is that makes a process see another time of day."""

from __future__ import annotations

from pathlib import Path

import pytest


def faketime() -> Path:
    """Return the library; skip the test where it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime: apt-get install faketime, or scripts/services")
    return found[0]
