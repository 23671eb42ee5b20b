"""What every part of a worker shares."""

from __future__ import annotations

from dataclasses import dataclass

from glowplug.clock import Clock
from glowplug.link import Link
from glowplug.runtime.backoff import Backoff
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy


@dataclass(frozen=True, slots=True)
class Station:
    """The way to the gateway, who is calling, the clock and the numbers."""

    link: Link
    identity: WorkerIdentity
    clock: Clock
    policy: WorkerPolicy

    @property
    def backoff(self) -> Backoff:
        """Return how long to wait before asking the gateway again."""
        return Backoff(self.policy.retry_base_seconds, self.policy.retry_cap_seconds)
