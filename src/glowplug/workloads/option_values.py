"""Options of models: unknown ones are refused, and those that are numbers read, for they come as texts.

What is wrong is refused with its name and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from glowplug.errors import SettingsError

MOST_THREADS = 1024


def refuse_unknown(options: Iterable[str], known: Iterable[str] | None, model: str) -> None:
    """Raise `SettingsError` for the first option that `model` does not know; None stands for one that takes any."""
    names = sorted(known or ())
    for name in options if known is not None else ():
        if name not in names:
            hint = closest(name, names)
            raise SettingsError(f"option {name[:80]} is not known to {model}{hint}; known: {', '.join(names)}")


def closest(name: str, names: Iterable[str]) -> str:
    """Return words in brackets that ask for the likeliest of `names`, none if all are far from `name`."""
    import difflib

    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


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
