"""The broker: carries hints that work waits. The job row is the truth; a lost or repeated hint harms nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from glowplug.lifecycle import Startable


@dataclass(frozen=True, slots=True)
class Hint:
    """Says that a job of `task` may be due."""

    job_id: str
    task: str
    priority: int = 0


class Broker(Startable, ABC):
    """Contract of the broker, as the gateway uses it."""

    @abstractmethod
    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints; they have been accepted when this returns. Raises `Unreachable`."""

    @abstractmethod
    def mark(self) -> int:
        """Return a number that grows with each hint; take it before looking at the store."""

    @abstractmethod
    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for a hint for one of `tasks` that came after the mark `since`; False if none came in time.

        Many may wait at once, and one hint wakes all of them: the claim decides who gets the job.
        """
