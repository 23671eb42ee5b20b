"""The progress of a whole as it is shown: never backwards, though it is judged by guesses."""

from __future__ import annotations

from dataclasses import replace

from glowplug.readiness.snapshot import Snapshot


class Shown:
    """What was shown of the running attempts; its owner's lock guards it."""

    def __init__(self) -> None:
        self._retries = 0
        self._progress = 0

    def forget(self) -> None:
        """Begin from nothing."""
        self._retries = self._progress = 0

    def never_back(self, snapshot: Snapshot) -> Snapshot:
        """Return the picture with the progress to show: weights are only guesses, so what was shown is kept."""
        if snapshot.ready:
            self.forget()
            return snapshot
        retries = sum(max(0, one.attempt - 1) for one in snapshot.components if one.required)
        shown = self._progress if retries == self._retries else 0
        self._retries, self._progress = retries, max(shown, snapshot.progress)
        return replace(snapshot, progress=self._progress)
