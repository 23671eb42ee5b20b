"""What a host is told about its model: what to run, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glowplug.process.cards import CardSpec
from glowplug.readiness.deadlines import Deadlines


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """What to run (`target` as in `glowplug.process.target`), and its limits.

    `slots` of None leaves it to the model. A load that fails for a reason that may pass is tried `load_attempts`
    times; a model that was ready is restarted `max_restarts` times in a row. The component gets these deadlines.
    `scratch` is where folders of calls are made, `environment` what the process sees (None: what we see). Without
    `preload` the model is only imported, so that its tasks are known, and sleeps until `Host.reload`. With `cards` it
    shares the memory of its device with the other models of this machine.
    """

    target: str
    name: str = ""
    device: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    slots: int | None = None
    startup_timeout_seconds: float = 900.0
    stall_seconds: float = 300.0
    warm_up_seconds: float = 60.0
    memory_limit_bytes: int | None = None
    load_attempts: int = 3
    max_restarts: int = 5
    cancel_grace_seconds: float = 5.0
    preload: bool = True
    scratch: Path
    environment: Mapping[str, str] | None = None
    cards: CardSpec | None = None

    @property
    def deadlines(self) -> Deadlines:
        """Return the deadlines of the load."""
        return Deadlines(self.startup_timeout_seconds, self.warm_up_seconds, self.stall_seconds)
