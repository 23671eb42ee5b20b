"""A door of the tests' own: it remembers what it is told, and answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from glowplug.clock import ManualClock
from glowplug.door import Door, Reception, Told
from glowplug.errors import InvalidInput
from glowplug.job import Follower, Job, JobEvent, JobRequest, Outcome, OutcomeKind
from glowplug.store import Hold, Settlement, Store, Want

LEASE = timedelta(seconds=60)
Answering = Callable[[Job, Sequence[JobEvent]], Told]


def taken(job: Job, events: Sequence[JobEvent]) -> Told:
    """Take everything."""
    del job
    return Told(events[-1].seq, status=204)


def refused(**more: Any) -> Answering:
    """Take nothing."""
    return lambda job, events: Told(0, more.pop("error", "it is away"), **more)


class Listener(Door):
    """Follows jobs for events of `types`. `answers` are given one by one, the last one for ever.

    It waits for `gate`, and for the event in `held` of a job's target.
    """

    name: ClassVar[str] = "listener"

    def __init__(self, types: tuple[str, ...] = ()) -> None:
        self.types = types
        self.answers: list[Answering] = [taken]
        self.told: list[tuple[str, int, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.held: dict[str, asyncio.Event] = {}
        self.at_once = self.most_at_once = 0
        self.starts = 0
        self.start_errors: list[Exception] = []
        self.reception: Reception | None = None

    def welcome(self, reception: Reception) -> None:
        self.reception = reception

    def follower(self, request: JobRequest) -> Follower | None:
        if request.metadata.get("follow") == "nobody":
            return None
        if request.metadata.get("follow") == "wrong":
            raise InvalidInput("nobody can be told like that")
        return Follower(self.name, self.types)

    def target(self, job: Job) -> str:
        return str(job.metadata.get("target", ""))

    async def _start(self) -> None:
        self.starts += 1
        if self.start_errors:
            raise self.start_errors.pop(0)

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.target(job) in self.held:
                await self.held[self.target(job)].wait()
            self.told.extend((job.id, event.seq, event.type) for event in events)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return answer(job, events)
        finally:
            self.at_once -= 1

    def of(self, job: Job) -> list[int]:
        """Return the seqs that were told of a job."""
        return [seq for job_id, seq, _ in self.told if job_id == job.id]

    def types_of(self, job: Job) -> list[str]:
        """Return the types that were told of a job."""
        return [kind for job_id, _, kind in self.told if job_id == job.id]


async def submitted(store: Store, door: Listener, **metadata: Any) -> Job:
    """Queue a job that the door follows."""
    followers = (Follower(door.name, door.types),)
    request = JobRequest(task="echo.say", input={"text": "x"}, metadata=metadata, followers=followers)
    return (await store.submit([request]))[0].job


async def run(store: Store, result: Any = "said") -> Job:
    """Claim the next job and complete it."""
    job = (await store.claim("w1", [Want(("echo.say",), 1)], LEASE))[0]
    settled = await store.settle([Settlement(Hold(job.id, job.token), Outcome(OutcomeKind.COMPLETED, result))])
    assert settled[0].job is not None
    return settled[0].job


async def completed(store: Store, door: Listener, **metadata: Any) -> Job:
    """Queue a job and complete it: queued, started, completed."""
    await submitted(store, door, **metadata)
    return await run(store)


async def until(holds: Callable[[], object]) -> None:
    """Wait until `holds()`; what is waited for goes on in tasks of this loop."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.002)


async def wind(clock: ManualClock, holds: Callable[[], object], step: float = 1.0) -> None:
    """Wind the clock on until `holds()`."""
    async with asyncio.timeout(20):
        while not holds():
            await clock.advance(step)
            await asyncio.sleep(0.002)
