"""The doorway: opens the doors, keeps trying those that stay shut, and has each told what it follows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from glowplug.clock import Clock
from glowplug.door import Door, Reception
from glowplug.events import emit
from glowplug.gateway.telling import Teller, TellingPace
from glowplug.job import Follower, Job, JobRequest, JobState
from glowplug.lifecycle import Startable, cancel, stop_all
from glowplug.store import Store

BASE_SECONDS = 1.0
CAP_SECONDS = 30.0
# Which events may just have been written of a job that stands so; of one that has ended, the one named like its state.
_WRITTEN = {JobState.QUEUED: ("queued", "requeued"), JobState.RUNNING: ("started", "canceling")}


def duty_of(door: str) -> str:
    """Return the name of the duty to tell a door, which one of several gateways does."""
    return f"tell:{door}"


class Opening(Startable):
    """One door on its way to being open, and then what tells it; a door that fails to open is tried again."""

    def __init__(self, door: Door, teller: Teller, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._door = door
        self._teller = teller
        self._clock = clock
        self._jitter = jitter
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Say that the door may have something to be told."""
        self._teller.wake()

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._open(), name=f"open {self._door.name}")

    async def _stop(self) -> None:
        await cancel(self._task)
        self._task = None
        await stop_all([self._teller, self._door])

    async def _open(self) -> None:
        failures = 0
        while True:
            try:
                await self._door.start()
                await self._teller.start()
            except Exception as error:  # noqa: BLE001 - a door may be anybody's code, and the gateway stands without it
                failures += 1
                if failures == 1:
                    emit("door.failed", door=self._door.name, error=f"{type(error).__name__}: {error}")
                ceiling = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(failures - 1, 10))
                await self._clock.sleep(ceiling * self._jitter())
            else:
                emit("door.opened", door=self._door.name)
                return


class Doorway(Startable):
    """All the doors of a gateway. `leads` says whether this gateway does a duty: one of several tells a door."""

    def __init__(self, doors: Sequence[Door], store: Store, clock: Clock, *, pace: TellingPace | None = None) -> None:
        self._doors = doors
        self.leads: Callable[[str], bool] = lambda duty: True
        self._openings = {
            door.name: Opening(door, Teller(door, store, clock, leads=self._does(door.name), pace=pace), clock)
            for door in doors
        }

    @property
    def duties(self) -> list[str]:
        """Return the duties that a gateway with these doors may lead."""
        return [duty_of(door.name) for door in self._doors]

    def welcome(self, reception: Reception) -> None:
        """Hand every door what it may ask of the gateway."""
        for door in self._doors:
            door.welcome(reception)

    def followers(self, request: JobRequest) -> tuple[Follower, ...]:
        """Return who is told of a new job. Raises `InvalidInput` for what a door cannot tell as it is asked."""
        found = (door.follower(request) for door in self._doors)
        return tuple(follower for follower in found if follower is not None)

    def written(self, jobs: Iterable[Job]) -> None:
        """Say that events of these jobs were written; doors that want none of such have their rest."""
        wanted = {
            follower.door
            for job in jobs
            for follower in job.followers
            if any(follower.wants(kind) for kind in _WRITTEN.get(job.state, (job.state.value,)))
        }
        for door in wanted:
            self.wake(door)

    def wake(self, door: str) -> None:
        """Say that a door may have something to be told."""
        opening = self._openings.get(door)
        if opening is not None:
            opening.wake()

    def wake_all(self) -> None:
        """Say that any door may have something to be told, or another gateway's doors are ours now."""
        for opening in self._openings.values():
            opening.wake()

    async def _start(self) -> None:
        for opening in self._openings.values():
            await opening.start()

    async def _stop(self) -> None:
        await asyncio.gather(*(opening.stop() for opening in self._openings.values()))

    def _does(self, door: str) -> Callable[[], bool]:
        duty = duty_of(door)
        return lambda: self.leads(duty)
