"""Past loads of an application's components, kept apart from those of other applications on the machine."""

from __future__ import annotations

from glowplug.readiness.history import Histories, History, Load


class OwnPast:
    """Histories in which a component without the name of a model is told apart by where its load is written.

    Many an application calls a component "tts": what one of them has learned is no ground for another's estimate.
    """

    def __init__(self, histories: Histories) -> None:
        self._histories = histories
        self._keys: dict[str, str] = {}

    def tell_apart(self, key: str, origin: str) -> None:
        """Keep what is asked for by `key` under `key` and `origin`."""
        self._keys[key] = f"{key} of {origin}"

    def past(self, key: str) -> History:
        """Return the history under `key`, empty when there is none."""
        return self._histories.past(self._keys.get(key, key))

    def record(self, key: str, load: Load) -> None:
        """Add a load to the history under `key`."""
        self._histories.record(self._keys.get(key, key), load)
