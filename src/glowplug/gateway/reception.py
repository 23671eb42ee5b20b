"""The reception: what those who come in through a door may ask of the gateway, checked as if it had come over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from glowplug.clock import Clock
from glowplug.door import Wish
from glowplug.errors import InvalidInput, NotFound
from glowplug.gateway.catalog import Catalog
from glowplug.gateway.jobs import Jobs
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.registry import Registry
from glowplug.gateway.schemas import Submit
from glowplug.gateway.subjects import Subject
from glowplug.gateway.telling import again, follower_at
from glowplug.job import Follower, Job, JobEvent
from glowplug.store import Delivery, Store, Submission, WorkerRecord

LOOK_BACK = 500


class Deliveries:
    """How far doors were told of jobs, for those who look and those who want it told again.

    `on_due` hears the door that has something to tell.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.on_due: Callable[[str], None] = _ignore

    async def of_job(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job by door, also where nothing was to be told yet. Raises `NotFound`."""
        job = await self._store.job(job_id)
        known = {delivery.door: delivery for delivery in await self._store.deliveries(job_id)}
        for follower in job.followers:
            known.setdefault(follower.door, Delivery(job_id=job_id, door=follower.door))
        return [known[door] for door in sorted(known)]

    async def retry(self, job_id: str, door: str) -> Delivery:
        """Tell what was not taken, at once, also if it was given up; if nothing is left, tell the last event again.

        Raises `NotFound`: no such job, or it is not followed there.
        """
        job, follower = await self._followed(job_id, door)
        known = await self._of_door(job_id, door)
        left = await self._wanted(job, follower, known.seq)
        return await self._save(again(known, self._clock.now()) if left else await self._last(job, follower, known))

    async def tell_again(self, job_id: str, door: str) -> Delivery:
        """Tell the last event once more, and what was not taken yet. Raises `NotFound`."""
        job, follower = await self._followed(job_id, door)
        return await self._save(await self._last(job, follower, await self._of_door(job_id, door)))

    async def _followed(self, job_id: str, door: str) -> tuple[Job, Follower]:
        job = await self._store.job(job_id)
        follower = follower_at(job, door)
        if follower is None:
            raise NotFound(f"job {job_id} is not followed through a door {door[:80]!r}")
        return job, follower

    async def _of_door(self, job_id: str, door: str) -> Delivery:
        known = [delivery for delivery in await self._store.deliveries(job_id) if delivery.door == door]
        return known[0] if known else Delivery(job_id=job_id, door=door)

    async def _wanted(self, job: Job, follower: Follower, after: int) -> list[JobEvent]:
        # The end of the log is enough: what lies further back is told with it.
        after = max(after, job.last_seq - LOOK_BACK)
        events = await self._store.events(job.id, after=after, limit=LOOK_BACK)
        return [event for event in events if follower.wants(event.type)]

    async def _last(self, job: Job, follower: Follower, known: Delivery) -> Delivery:
        wanted = await self._wanted(job, follower, 0)
        seq = min(known.seq, wanted[-1].seq - 1) if wanted else known.seq
        return again(known, self._clock.now(), seq) if wanted else known

    async def _save(self, delivery: Delivery) -> Delivery:
        await self._store.save_deliveries([delivery])
        self.on_due(delivery.door)
        return delivery


class FrontDesk:
    """The gateway's `Reception`."""

    def __init__(
        self, store: Store, jobs: Jobs, ledger: Ledger, catalog: Catalog, registry: Registry, deliveries: Deliveries
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._ledger = ledger
        self._catalog = catalog
        self._registry = registry
        self._deliveries = deliveries
        self._listeners: list[Callable[[WorkerRecord], None]] = []

    def knows(self, task: str) -> bool:
        """Say whether some worker has ever told of this task."""
        return task in self._catalog.tasks

    async def submit(self, wish: Wish) -> Submission:
        """Queue a job, checked as one that came over HTTP."""
        asked = Submit(task=wish.task, input=dict(wish.input), priority=wish.priority, metadata=dict(wish.metadata))
        try:
            self._jobs.check_size(msgspec.json.encode(asked.input))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"the input is not plain JSON: {error}") from error
        return (await self._jobs.submit([asked], subject=Subject(wish.owner, sees_all=True), key=wish.key))[0]

    async def job(self, job_id: str) -> Job:
        """Return a job. Raises `NotFound`."""
        return await self._store.job(job_id)

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Return the job's events above `after`."""
        return await self._store.events(job_id, after=after)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Raises `NotFound`, `Conflict`."""
        return await self._ledger.cancel(job_id)

    async def place(self, key: str, target: str) -> None:
        """Lay a copy of an artifact at `target`."""
        await self._jobs.shelf.place(key, target)

    async def tell_again(self, job_id: str, door: str) -> None:
        """Have the job's last event told to `door` once more. Raises `NotFound`."""
        await self._deliveries.tell_again(job_id, door)

    def workers(self) -> Sequence[WorkerRecord]:
        """Return the workers that are known here."""
        return [entry.record for entry in self._registry]

    def follow_workers(self, listener: Callable[[WorkerRecord], None]) -> None:
        """Let `listener` hear of each worker whose record has changed."""
        self._listeners.append(listener)

    def worker_changed(self, instance_id: str) -> None:
        """Tell the listeners how a worker stands now."""
        entry = self._registry.get(instance_id)
        if entry is not None:
            for listener in self._listeners:
                listener(entry.record)


def _ignore(door: str) -> None:
    del door
