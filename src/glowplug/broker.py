"""The broker: carries hints that work waits. The job row is the truth; a lost or repeated hint harms nothing.

There are two kinds. One only wakes those who wait, and the rows are the queue (`carries` is False). The other carries
the hints themselves from gateway to gateway: then a relay publishes them in the order of the queue, and a gateway with
a free slot receives one, claims that very job, and acknowledges the hint once the claim is durable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from glowplug.job import Job
from glowplug.lifecycle import Startable


@dataclass(frozen=True, slots=True)
class Hint:
    """Says that a job of `task` may be due. `owner` is for brokers that take turns between owners by themselves."""

    job_id: str
    task: str
    priority: int = 0
    owner: str = ""

    @property
    def model(self) -> str:
        """Return the model's part of the task name: each model has a queue of its own."""
        return self.task.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A hint that a broker handed to us and keeps until it is acknowledged or released. `tag` is the adapter's own."""

    hint: Hint
    tag: Any = None


class Broker(Startable, ABC):
    """Contract of the broker, as the gateway uses it."""

    carries: ClassVar[bool] = False

    @abstractmethod
    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints; they have been accepted when this returns. Raises `Unreachable`."""

    @abstractmethod
    def mark(self) -> int:
        """Return a number that grows with each hint that wakes; take it before looking at the store."""

    @abstractmethod
    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for a hint for one of `tasks` that came after the mark `since`; False if none came in time.

        Many may wait at once, and one hint wakes all of them: the claim decides who gets the job. Where hints are
        carried, it is their arrival that wakes.
        """

    # Only for brokers that carry; the others have nothing to say to these.

    def want(self, slots: Mapping[str, int]) -> None:
        """Say how many hints may be held here now, by model; those not named: none.

        The broker opens and shuts its intake accordingly, soon. What it holds beyond is released.
        """

    def take(self, models: Mapping[str, int]) -> list[Arrival]:
        """Return what has arrived and nobody took yet, at most so many for each model."""
        del models
        return []

    async def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Forget hints for good. One that was handed out again meanwhile, or whose broker is gone, is let be."""

    async def release(self, arrivals: Sequence[Arrival]) -> None:
        """Give hints back, for others or for later."""

    async def waiting(self, model: str) -> int | None:
        """Return how many hints of a model wait at the broker, None if it cannot tell. Raises `Unreachable`."""
        del model
        return None

    async def bury(self, jobs: Sequence[Job]) -> None:
        """Put a copy of failed jobs, with their attempts, on the dead-letter queue. Raises `Unreachable`."""
