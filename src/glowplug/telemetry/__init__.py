"""What the outside sees of the events: one log line for each, and Prometheus metrics. The libraries load late.

The names are imported when they are first used: a model's process and the first second of a server need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glowplug.telemetry.readings import (
        GaugeSpec,
        Reading,
        Sampler,
        component_readings,
        queue_readings,
        worker_readings,
    )
    from glowplug.telemetry.redaction import Redaction
    from glowplug.telemetry.sink import LogFormat, Telemetry, log_format
    from glowplug.telemetry.standard import LibraryTelemetry
    from glowplug.telemetry.transitions import BoardEvents

__all__ = [
    "BoardEvents",
    "GaugeSpec",
    "LibraryTelemetry",
    "LogFormat",
    "Reading",
    "Redaction",
    "Sampler",
    "Telemetry",
    "component_readings",
    "log_format",
    "queue_readings",
    "worker_readings",
]

_HOMES = {
    "BoardEvents": "transitions",
    "GaugeSpec": "readings",
    "LibraryTelemetry": "standard",
    "LogFormat": "sink",
    "Reading": "readings",
    "Redaction": "redaction",
    "Sampler": "readings",
    "Telemetry": "sink",
    "component_readings": "readings",
    "log_format": "sink",
    "queue_readings": "readings",
    "worker_readings": "readings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
