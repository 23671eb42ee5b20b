"""The names of classes that a network brings along."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.workloads.detection.labels import MOST_CLASSES

LONGEST_NAME = 200


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes. Raises `ValueError` where they are none that can be written down and drawn."""
    if not 0 < len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} class names, where 1 to {MOST_CLASSES} are expected")
    if any(not name.isprintable() or len(name) > LONGEST_NAME for name in names):
        raise ValueError("a class name is too long or cannot be printed")
    return tuple(names)
