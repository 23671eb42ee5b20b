"""Dead letters: a job that ends as failed leaves a copy, with its attempts, on the broker's dead-letter queue.

It is told as any other door is: what the broker did not take is told again, also by another gateway after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from glowplug.broker import Broker
from glowplug.door import Door, Reception, Told
from glowplug.errors import RemoteError
from glowplug.job import Follower, Job, JobEvent, JobRequest

FOLLOWED = ("failed",)


class DeadLetters(Door):
    """Buries failed jobs at a broker that carries; at any other, no job has this follower."""

    name: ClassVar[str] = "dead-letters"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def welcome(self, reception: Reception) -> None:
        """Take note of the gateway; nothing is asked of it."""

    def follower(self, request: JobRequest) -> Follower | None:
        """Follow the failure of every job."""
        del request
        return Follower(self.name, FOLLOWED) if self._broker.carries else None

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Bury the job once, however often it has failed since the last time."""
        try:
            await self._broker.bury([job])
        except RemoteError as error:
            return Told(events[0].seq - 1, error=error.message)
        return Told(events[-1].seq)
