"""The relay: hands the hints of due jobs to a broker that carries them, in the order of the queue and never too many.

It publishes about twice as many as there are ready slots, so a job that comes first tomorrow is not behind a thousand
messages, and a canceled one leaves no message behind. Where jobs are so short that this would run dry before the next
look, it is as many as were started in the last quarter of a second. Published first and marked in the row a moment
after, if the job still waits then: a crash between the two makes a second hint, which finds its job taken and is
forgotten.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, NotFound, RemoteError
from glowplug.events import emit
from glowplug.gateway.registry import Registry
from glowplug.gateway.waits import woken
from glowplug.job import Job
from glowplug.lifecycle import Startable, cancel
from glowplug.store import Store, TaskInfo

LEAST_OUTSTANDING = 8
BATCH = 100
MOST_STARTS = 1000
# How soon the relay looks by itself: for jobs that become due, and for what another gateway wrote without a word.
LOOK_SECONDS = 0.5
PACE_SECONDS = 0.25
# A job that is claimed sooner needs no mark, which is a third of all that is ever written of a short one.
MARK_SECONDS = 0.2
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Window:
    """How many hints of a model's `tasks` may be outstanding at the broker."""

    tasks: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A hint that was published, whose job is neither claimed nor marked: the job's token then, and the moment."""

    model: str
    token: int
    at: float


def windows(registry: Registry, tasks: Mapping[str, TaskInfo]) -> dict[str, Window]:
    """Return the window of each model that some worker has ready.

    A worker's slots are the most that it has ever asked for at once; one that has not asked yet counts as one. Too low
    a guess costs a little speed, for as long as every slot is busy; too high a one a few more messages.
    """
    slots: dict[str, int] = {}
    for entry in registry:
        for model in entry.ready_models:
            slots[model] = slots.get(model, 0) + max(1, entry.record.slots.get(model, 1))
    of_model: dict[str, list[str]] = {model: [] for model in slots}
    for task in tasks:
        of_model.get(task.partition(".")[0], []).append(task)
    return {
        model: Window(tuple(of_model[model]), max(LEAST_OUTSTANDING, 2 * slots[model]))
        for model in sorted(slots)
        if of_model[model]
    }


class Relay(Startable):
    """Keeps every window filled while it `leads`. `on_contact` hears None when the broker takes hints, else why not."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        *,
        windows: Callable[[], Mapping[str, Window]],
        leads: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._windows = windows
        self._leads = leads
        self._jitter = jitter
        self._bell = asyncio.Event()
        self._full: set[str] = set()
        self._sent: dict[str, Sent] = {}
        self._marked: dict[str, tuple[int, float]] = {}
        self._starts: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_STARTS))
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.on_contact: Callable[[str | None], None] = lambda error: None

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="relay")

    async def _stop(self) -> None:
        await cancel(self._task)
        self._task = None
        with suppress(GlowplugError):
            await self._mark(after_seconds=0.0)

    def poke(self) -> None:
        """Say that there may be something to publish."""
        self._bell.set()

    def claimed(self, jobs: Sequence[Job]) -> None:
        """Say that the hints of these jobs have been used; nothing is looked for where nothing was held back."""
        now = self._clock.monotonic()
        for job in jobs:
            self._starts[job.model].append(now)
            if self._sent.pop(job.id, None) is None:
                # It was a marked one: the count of those is out of date.
                self._marked.pop(job.model, None)
        if any(job.model in self._full for job in jobs):
            self._bell.set()

    async def _run(self) -> None:
        while True:
            self._bell.clear()
            pause = await self._turn()
            if pause is None:
                await woken(self._bell, self._clock, MARK_SECONDS if self._sent else LOOK_SECONDS)
            else:
                await self._clock.sleep(pause)

    async def _turn(self) -> float | None:
        """Fill the windows; return how long to leave a broker or store alone that does not answer."""
        if not self._leads():
            self._sent.clear()
            return None
        try:
            await self._mark(MARK_SECONDS)
            await self._fill()
        except RemoteError:
            # Told already: by the contact to the broker, or by the reconciler where it is the store.
            self._failures += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may go well
            self._failures += 1
            emit("duty.failed", duty="relay", error=f"{type(error).__name__}: {error}", exception=error)
        else:
            self._failures = 0
            return None
        return self._jitter() * min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2.0 ** min(self._failures, 10))

    async def _fill(self) -> None:
        for model, window in self._windows().items():
            # Taken for full until it is known not to be, so that no hint is used unheard while we count.
            self._full.add(model)
            outstanding = self._unmarked(model) + await self._count_marked(model, window.tasks)
            size = max(window.size, self._started_lately(model))
            # Where many start in a moment, half of them at a time is often enough, and much less to ask for.
            room = 0 if window.size < size < 2 * outstanding else size - outstanding
            while room > 0 and self._leads():
                limit = min(room, BATCH)
                sent = await self._send(model, window.tasks, limit)
                room -= sent
                if sent < limit:
                    self._full.discard(model)
                    break

    async def _mark(self, after_seconds: float) -> None:
        """Mark what was published so long ago and still waits."""
        before = self._clock.monotonic() - after_seconds
        late = {job_id: sent for job_id, sent in self._sent.items() if sent.at <= before}
        if not late:
            return
        unused = await self._unused(late) if self._store.shared else [*late]
        await self._store.mark_dispatched(unused)
        for job_id, sent in late.items():
            self._sent.pop(job_id, None)
            self._marked.pop(sent.model, None)

    async def _unused(self, late: Mapping[str, Sent]) -> list[str]:
        """Leave out what another gateway has claimed: queued again by now, it needs another hint, and not a mark."""
        unused = []
        for job_id, sent in late.items():
            with suppress(NotFound):
                if (await self._store.job(job_id)).token == sent.token:
                    unused.append(job_id)
        return unused

    def _unmarked(self, model: str) -> int:
        return sum(sent.model == model for sent in self._sent.values())

    async def _count_marked(self, model: str, tasks: Sequence[str]) -> int:
        count, until = self._marked.get(model, (0, 0.0))
        if self._clock.monotonic() >= until:
            count = await self._store.dispatched(tasks)
            self._marked[model] = (count, self._clock.monotonic() + LOOK_SECONDS)
        return count

    def _started_lately(self, model: str) -> int:
        starts, since = self._starts[model], self._clock.monotonic() - PACE_SECONDS
        while starts and starts[0] < since:
            starts.popleft()
        return len(starts)

    async def _send(self, model: str, tasks: Sequence[str], limit: int) -> int:
        found = await self._store.undispatched(tasks, limit=limit + self._unmarked(model))
        jobs = [job for job in found if job.id not in self._sent][:limit]
        if not jobs:
            return 0
        # Noted before, for one may be claimed while the others are still being published.
        self._sent.update((job.id, Sent(model, job.token, self._clock.monotonic())) for job in jobs)
        try:
            await self._publish([hint_of(job) for job in jobs])
        except BaseException:
            for job in jobs:
                self._sent.pop(job.id, None)
            raise
        return len(jobs)

    async def _publish(self, hints: Sequence[Hint]) -> None:
        try:
            await self._broker.publish(hints)
        except RemoteError as error:
            self.on_contact(error.message)
            raise
        self.on_contact(None)


def hint_of(job: Job) -> Hint:
    """Return the hint of a job that is due."""
    return Hint(job.id, job.task, job.priority, job.owner)
