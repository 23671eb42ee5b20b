"""What the two halves of a process hand to each other while the heavy one is still being imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glowplug import __version__
from glowplug.clock import Clock
from glowplug.readiness import Board
from glowplug.settings import Settings
from glowplug.telemetry import Telemetry

SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class InteriorParts:
    """What a worker's process has from its first moment on."""

    settings: Settings
    token: str
    clock: Clock
    board: Board
    telemetry: Telemetry
    scratch: Path


def make_telemetry(settings: Settings, *tokens: str) -> Telemetry:
    """Return the log and the metrics of this process, in which neither `tokens` nor the settings' secrets are shown."""
    secrets = (settings.gateway.token, settings.alerts.webhook_url, settings.alerts.webhook_secret)
    known = [*tokens, *(word for secret in secrets if secret for word in secret.reveal().split())]
    return Telemetry(settings.log.level, settings.log.format, secrets=known, version=__version__)


@contextmanager
def quick_switches() -> Iterator[None]:
    """Make threads take turns quickly while the block runs: one imports, and the loop's must answer meanwhile."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
