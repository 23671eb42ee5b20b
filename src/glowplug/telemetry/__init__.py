"""What the outside sees of the events: one log line for each, and Prometheus metrics. The libraries load late."""

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
from glowplug.telemetry.transitions import BoardEvents

__all__ = [
    "BoardEvents",
    "GaugeSpec",
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
