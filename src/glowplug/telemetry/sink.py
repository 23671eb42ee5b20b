"""The sink of all events. It holds them until `open`, so that a start need not wait for log and metrics libraries."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TextIO

from glowplug.events import EventSpec, Sink, set_sink
from glowplug.lifecycle import Startable
from glowplug.telemetry.readings import Source
from glowplug.telemetry.redaction import Redaction

if TYPE_CHECKING:
    from glowplug.telemetry.lines import Bridge, Lines
    from glowplug.telemetry.meters import Meters

MAX_HELD_EVENTS = 1000

LogFormat = Literal["pretty", "logfmt", "json"]


def log_format(form: LogFormat | Literal["auto"], stream: TextIO) -> LogFormat:
    """Return the format that `auto` stands for on this stream, or the one that is set."""
    if form != "auto":
        return form
    return "pretty" if stream.isatty() else "logfmt"


class Telemetry(Startable):
    """Logs every event and counts what the catalogue of metrics names.

    `install` makes it the sink, which may be done long before `start`; `start` brings the libraries in, some 150 ms in
    a thread; `stop` writes what is still held and puts the former sink back. `secrets` are never shown.
    """

    def __init__(
        self,
        level: Literal["debug", "info", "warning", "error"] = "info",
        form: LogFormat | Literal["auto"] = "auto",
        *,
        stream: TextIO | None = None,
        secrets: Iterable[str] = (),
        version: str = "",
    ) -> None:
        self._version = version
        self._level = level
        self._form = form
        self._stream = stream or sys.stderr
        self._redaction = Redaction(secrets)
        self._sources: list[Source] = []
        self._held: deque[tuple[float, EventSpec, dict[str, Any]]] = deque(maxlen=MAX_HELD_EVENTS)
        self._lock = threading.RLock()
        self._lines: Lines | None = None
        self._meters: Meters | None = None
        self._bridge: Bridge | None = None
        self._former: Sink | None = None

    def install(self) -> None:
        """Receive every event from now on."""
        if self._former is None:
            self._former = set_sink(self.sink)

    def add_source(self, source: Source) -> None:
        """Ask `source` for gauges whenever the metrics are read."""
        self._sources.append(source)

    async def _start(self) -> None:
        self.install()
        await asyncio.to_thread(self.open)

    async def _stop(self) -> None:
        self.close()

    def open(self) -> None:
        """Import the libraries and deliver what was held. Safe twice, and in any thread."""
        with self._lock:
            if self._lines is not None:
                return
            from glowplug.telemetry.lines import Bridge, Lines
            from glowplug.telemetry.meters import Meters

            form = log_format(self._form, self._stream)
            colors = form == "pretty" and "NO_COLOR" not in os.environ
            self._meters = Meters(self._sources, self._version)
            self._lines = Lines(self._stream, form, self._level, colors=colors)
            self._bridge = Bridge(self._write)
            logging.getLogger().addHandler(self._bridge)
            while self._held:
                self._deliver(*self._held.popleft())

    def close(self) -> None:
        """Write what is held and step back."""
        if self._held:
            self.open()
        if self._former is not None:
            set_sink(self._former)
            self._former = None
        if self._bridge is not None:
            logging.getLogger().removeHandler(self._bridge)

    def sink(self, spec: EventSpec, fields: dict[str, Any]) -> None:
        """Take one event; never raises for the sake of the log."""
        at = time.time()
        if self._lines is None:
            with self._lock:
                # `open` may have come between the look and the lock.
                if self._lines is None:
                    self._held.append((at, spec, fields))
                    return
        self._deliver(at, spec, fields)

    def metrics(self) -> tuple[bytes, str]:
        """Return the body and the media type of `/metrics`."""
        self.open()
        assert self._meters is not None
        return self._meters.exposed()

    def _deliver(self, at: float, spec: EventSpec, fields: dict[str, Any]) -> None:
        assert self._meters is not None
        self._meters.observe(spec, fields)
        self._write(at, spec, fields)

    def _write(self, at: float, spec: EventSpec, fields: dict[str, Any]) -> None:
        assert self._lines is not None
        if not self._lines.wants(spec):
            return
        error = fields.get("exception")
        if isinstance(error, BaseException):
            fields = {**fields, "exception": "".join(traceback.format_exception(error)).rstrip()}
        self._lines.write(at, spec, self._redaction.apply(fields))
