"""Keeps secrets out of the log: by the name of a field, by known values, and by the look of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "***"
SHORTEST_SECRET = 6
_NAMES = re.compile(r"token|secret|passw|authorization|api_?key|credential|cookie", re.IGNORECASE)
_LOOKS = (
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)([?&](?:x-amz-signature|x-amz-credential|signature|token|key)=)[^&\s]+"), rf"\1{HIDDEN}"),
)


class Redaction:
    """Hides secrets in the fields of an event. `known` are values that must never be shown, such as tokens."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        # A very short value would black out ordinary words.
        self._known = [value for value in known if len(value) >= SHORTEST_SECRET]

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with secrets hidden."""
        return {name: HIDDEN if _NAMES.search(name) else self._value(value) for name, value in fields.items()}

    def text(self, text: str) -> str:
        """Return the text with secrets hidden."""
        for value in self._known:
            text = text.replace(value, HIDDEN)
        for pattern, shown in _LOOKS:
            text = pattern.sub(shown, text)
        return text

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self.apply({str(key): item for key, item in value.items()})
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        return value
