"""What readers get, encoded once for all of them: a thousand watchers cost one encoding of each picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from glowplug.clock import Clock
from glowplug.readiness import Feed, Snapshot, State
from glowplug.web.answers import encoded

FRESH_SECONDS = 0.5
"""How long a picture without news is shown before a new one is taken: its times go on."""


class Frame:
    """One picture with its bodies, each encoded when it is first asked for."""

    def __init__(self, snapshot: Snapshot, links: Mapping[str, str], taken: float) -> None:
        self.snapshot = snapshot
        self.taken = taken
        self._links = links

    @property
    def version(self) -> int:
        """Return the version of the picture."""
        return self.snapshot.version

    @property
    def is_last(self) -> bool:
        """Say whether a stream has nothing to say after it."""
        return self.snapshot.state.is_settled or self.snapshot.state is State.DRAINING

    @cached_property
    def ready(self) -> bytes:
        """Return the body of `/api/ready`."""
        return encoded(self.snapshot.api_ready(self._links))

    @cached_property
    def event(self) -> bytes:
        """Return the body of `/api/ready` as a server-sent event; JSON has no line breaks that would end it early."""
        return b"id: %d\ndata: %b\n\n" % (self.version, self.ready)

    @cached_property
    def message(self) -> str:
        """Return the message of `/ws/init/{client_id}`."""
        return encoded(self.snapshot.ws_init()).decode()


class Frames:
    """The newest frame of a board, shared by all who read it."""

    def __init__(self, feed: Feed, links: Mapping[str, str], clock: Clock) -> None:
        self._feed = feed
        self._links = links
        self._clock = clock
        self._newest: Frame | None = None

    def newest(self) -> Frame:
        """Return the frame of this moment."""
        known, now = self._newest, self._clock.monotonic()
        if known is not None and known.version == self._feed.version and now - known.taken < FRESH_SECONDS:
            return known
        return self._made(self._feed.snapshot(), now)

    def of(self, snapshot: Snapshot) -> Frame:
        """Return the frame of a picture that has just been told."""
        known = self._newest
        if known is not None and known.version == snapshot.version:
            return known
        return self._made(snapshot, self._clock.monotonic())

    def _made(self, snapshot: Snapshot, now: float) -> Frame:
        self._newest = frame = Frame(snapshot, self._links, now)
        return frame
