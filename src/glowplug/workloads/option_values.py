"""Options of models as numbers: they come as texts, and a wrong one is refused with its name and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from glowplug.errors import SettingsError

MOST_THREADS = 1024


def whole(options: Mapping[str, str], name: str, usual: int, *, least: int = 0, most: int) -> int:
    """Return an option that is a whole number, `usual` if it is not given. Raises `SettingsError`."""
    value = options.get(name, str(usual))
    # Longer ones than the largest are not even read: int() takes its time with thousands of digits, or refuses.
    fits = value.isascii() and value.isdigit() and len(value) <= len(str(most)) and least <= int(value) <= most
    if not fits:
        raise SettingsError(f"option {name}={value[:80]!r}: a whole number from {least} to {most} is expected")
    return int(value)


def threads(options: Mapping[str, str], usual: int = 0) -> int:
    """Return the option `threads`: how many cores a model uses, 0 for all of them. Raises `SettingsError`."""
    return whole(options, "threads", usual, most=MOST_THREADS)


def seconds(options: Mapping[str, str], name: str, usual: float) -> float:
    """Return an option that is a positive number of seconds, `usual` if it is not given. Raises `SettingsError`."""
    value = options.get(name, str(usual))
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise SettingsError(f"option {name}={value[:80]!r}: a number of seconds is expected")
    return found
