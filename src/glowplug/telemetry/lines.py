"""The log's side: an event becomes one line, for people or for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import Processor

from glowplug.events import EventSpec

LogFormat = Literal["pretty", "logfmt", "json"]
_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Lines:
    """Writes lines of at least `level` to `stream`."""

    def __init__(self, stream: TextIO, form: LogFormat, level: str, *, colors: bool) -> None:
        self._rank = _RANK[level]
        self._logger: _Line = structlog.wrap_logger(
            structlog.WriteLogger(stream), processors=[_renderer(form, colors=colors)], wrapper_class=_Line
        )

    def wants(self, spec: EventSpec) -> bool:
        """Say whether the event is important enough to be written."""
        return _RANK[spec.level] >= self._rank

    def write(self, at: float, spec: EventSpec, fields: Mapping[str, Any]) -> None:
        """Write one event that happened at `at`, in Unix seconds. A stream that is gone is no error of the caller."""
        try:
            self._logger.write(spec.name, {"timestamp": _time(at), "level": spec.level, **fields})
        except (OSError, ValueError):
            return


class _Line(structlog.BoundLoggerBase):
    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        self._proxy_to_logger("msg", name, **fields)


class Bridge(logging.Handler):
    """Brings what libraries say by the standard library's logging into the same log."""

    def __init__(self, write: Any) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on as an event named after its logger."""
        level: Literal["error", "warning"] = "error" if record.levelno >= logging.ERROR else "warning"
        spec = EventSpec(record.name, level, ("message",), "said by a library")
        fields: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = record.exc_info[1]
        self._write(record.created, spec, fields)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _renderer(form: LogFormat, *, colors: bool) -> Processor:
    if form == "pretty":
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=22)
    if form == "json":
        return structlog.processors.JSONRenderer(default=str)
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
