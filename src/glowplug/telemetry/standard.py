"""Telemetry as a guest: in somebody else's process events go to the standard library's logging, and no further.

The process owner decides where lines go and how they look; this only says them, to the logger `glowplug`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from glowplug.events import METRICS, EventSpec, Sink, set_sink
from glowplug.telemetry.redaction import Redaction
from glowplug.telemetry.sentences import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from glowplug.telemetry.meters import Meters
    from glowplug.telemetry.readings import Source

LOGGER = "glowplug"
MAX_HELD_EVENTS = 1000
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COUNTED = frozenset(spec.event for spec in METRICS)
# What every record has already: `extra` must not name them.
_RECORD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"))


class LibraryTelemetry:
    """Logs each event through `logging.getLogger("glowplug")` and counts what the catalogue of metrics names.

    Any number of them may be installed: an event is logged once and counted by each. A sink that was there before
    hears everything too, and is back after the last has closed. The metrics library is imported when `metrics` is
    first called; until then the newest thousand events are held. `secrets` are never shown.
    """

    def __init__(self, *, secrets: Iterable[str] = (), version: str = "") -> None:
        self.redaction = Redaction(secrets)
        self._version = version
        self._sources: list[Source] = []
        self._held: deque[tuple[EventSpec, dict[str, Any]]] = deque(maxlen=MAX_HELD_EVENTS)
        self._lock = threading.Lock()
        self._meters: Meters | None = None

    def install(self) -> None:
        """Hear every event from now on. Safe twice."""
        _HUB.join(self)

    def close(self) -> None:
        """Hear nothing more. Safe twice, and without `install`."""
        _HUB.leave(self)

    def add_source(self, source: Source) -> None:
        """Ask `source` for gauges whenever the metrics are read."""
        self._sources.append(source)

    def count(self, spec: EventSpec, fields: Mapping[str, Any]) -> None:
        """Feed the metrics that are derived from an event, now or when they are first read."""
        if spec.name not in _COUNTED:
            return
        with self._lock:
            if self._meters is None:
                self._held.append((spec, dict(fields)))
                return
        self._meters.observe(spec, fields)

    def metrics(self) -> tuple[bytes, str]:
        """Return the body and the media type of `/metrics`; blocks for the import at the first call."""
        return self._opened().exposed()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family: `REGISTRY.register(telemetry)` brings them into the app's own `/metrics`."""
        yield from self._opened().collect()

    def _opened(self) -> Meters:
        if self._meters is not None:
            return self._meters
        # Before the lock is taken: whoever emits meanwhile must not wait for an import.
        from glowplug.telemetry.meters import Meters

        with self._lock:
            if self._meters is None:
                meters = Meters(self._sources, self._version, about_process=False)
                while self._held:
                    meters.observe(*self._held.popleft())
                self._meters = meters
            return self._meters


class _Hub:
    """The one sink behind all that are installed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests: tuple[LibraryTelemetry, ...] = ()
        self._former: Sink | None = None

    def join(self, guest: LibraryTelemetry) -> None:
        with self._lock:
            if guest in self._guests:
                return
            self._guests = (*self._guests, guest)
            current = set_sink(self.hear)
            if current != self.hear:
                self._former = current

    def leave(self, guest: LibraryTelemetry) -> None:
        with self._lock:
            self._guests = tuple(one for one in self._guests if one is not guest)
            if self._guests or self._former is None:
                return
            current = set_sink(self._former)
            if current != self.hear:
                # Somebody put a sink over ours since: theirs stays, and passes on what it likes.
                set_sink(current)
                return
            self._former = None

    def hear(self, spec: EventSpec, fields: dict[str, Any]) -> None:
        guests, former = self._guests, self._former
        if former is not None:
            former(spec, fields)
        if guests:
            _log(spec, fields, guests)
        for guest in guests:
            guest.count(spec, fields)


_HUB = _Hub()


def _log(spec: EventSpec, fields: Mapping[str, Any], guests: Iterable[LibraryTelemetry]) -> None:
    logger = logging.getLogger(LOGGER)
    level = _LEVELS[spec.level]
    if not logger.isEnabledFor(level):
        return
    shown: dict[str, Any] = dict(fields)
    error = shown.pop("exception", None)
    for guest in guests:
        shown = guest.redaction.apply(shown)
    extra = {f"event_{name}" if name in _RECORD else name: value for name, value in shown.items()}
    cause = error if isinstance(error, BaseException) else None
    logger.log(level, "%s", sentence(spec, shown), extra={**extra, "event": spec.name}, exc_info=cause)
