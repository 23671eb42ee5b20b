"""Reading plain JSON values that came over a wire, with a clear error for what does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from glowplug.errors import InvalidInput

LONGEST_TEXT = 2000
Word = TypeVar("Word", bound=StrEnum)
Made = TypeVar("Made")


class Reader:
    """The fields of a JSON object, read by type; an absent field reads as None. Raises `InvalidInput`."""

    def __init__(self, data: Any, what: str) -> None:
        if not isinstance(data, Mapping):
            raise InvalidInput(f"{what} must be an object, not {type(data).__name__}")
        self._data = data
        self._what = what

    def text(self, field: str) -> str | None:
        """Return a string of bounded length."""
        value = self._get(field, str)
        return None if value is None else str(value)[:LONGEST_TEXT]

    def number(self, field: str) -> float | None:
        """Return a finite number."""
        value = self._get(field, (int, float))
        if value is None:
            return None
        if not math.isfinite(value):
            raise InvalidInput(f"{self._what}: {field} must be finite", fields=[field])
        return float(value)

    def flag(self, field: str) -> bool:
        """Return a truth value, False when absent."""
        return bool(self._get(field, bool))

    def word(self, field: str, kind: type[Word], default: Word) -> Word:
        """Return a member of an enumeration."""
        value = self.text(field)
        try:
            return default if value is None else kind(value)
        except ValueError as error:
            raise InvalidInput(f"{self._what}: unknown {field} {value!r}", fields=[field]) from error

    def moment(self, field: str) -> datetime | None:
        """Return a moment in UTC, written in ISO 8601."""
        value = self.text(field)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidInput(f"{self._what}: {field} is no ISO 8601 time", fields=[field]) from error
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def part(self, field: str, read: Callable[[Reader], Made]) -> Made | None:
        """Return what `read` makes of a nested object."""
        value = self._data.get(field)
        return None if value is None else read(Reader(value, f"{self._what}.{field}"))

    def parts(self, field: str, read: Callable[[Reader], Made]) -> tuple[Made, ...]:
        """Return what `read` makes of each of a list of nested objects, nothing when it is absent."""
        value = self._get(field, (list, tuple))
        return tuple(read(Reader(item, f"{self._what}.{field}")) for item in value or ())

    def _get(self, field: str, kinds: type | tuple[type, ...]) -> Any:
        value = self._data.get(field)
        right = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
        if value is None or right:
            return value
        raise InvalidInput(f"{self._what}: {field} has the wrong type", fields=[field])


def written(moment: datetime | None) -> str | None:
    """Return a moment in ISO 8601, UTC, with the Z that documents show."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def present(**facts: Any) -> dict[str, Any]:
    """Return the facts that are known: what is None or an empty text is left out."""
    return {name: value for name, value in facts.items() if value is not None and value != ""}
