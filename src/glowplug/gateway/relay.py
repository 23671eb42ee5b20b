"""The relay: hands the hints of due jobs to a broker that carries them, in the order of the queue and never too many.

It publishes about twice as many as there are ready slots, so a job that comes first tomorrow is not behind a thousand
messages, and a canceled one leaves no message behind. Where jobs are so short that this would run dry before the next
look, it is as many as were started in the last quarter of a second. Published first and marked in the row after: a
crash between the two makes a second hint, which finds its job taken and is forgotten.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock
from glowplug.errors import RemoteError
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
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Window:
    """How many hints of a model's `tasks` may be outstanding at the broker."""

    tasks: tuple[str, ...]
    size: int


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
        self._used: set[str] = set()
        self._starts: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_STARTS))
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.on_contact: Callable[[str | None], None] = lambda error: None

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="relay")

    async def _stop(self) -> None:
        await cancel(self._task)
        self._task = None

    def poke(self) -> None:
        """Say that there may be something to publish."""
        self._bell.set()

    def claimed(self, jobs: Sequence[Job]) -> None:
        """Say that the hints of these jobs have been used; nothing is looked for where nothing was held back."""
        now = self._clock.monotonic()
        for job in jobs:
            self._used.add(job.id)
            self._starts[job.model].append(now)
        if any(job.model in self._full for job in jobs):
            self._bell.set()

    async def _run(self) -> None:
        while True:
            self._bell.clear()
            pause = await self._turn()
            if pause is None:
                await woken(self._bell, self._clock, LOOK_SECONDS)
            else:
                await self._clock.sleep(pause)

    async def _turn(self) -> float | None:
        """Fill the windows; return how long to leave a broker or store alone that does not answer."""
        if not self._leads():
            return None
        try:
            await self._fill()
            self._used.clear()
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
            room = max(window.size, self._started_lately(model)) - await self._store.dispatched(window.tasks)
            while room > 0 and self._leads():
                limit = min(room, BATCH)
                sent = await self._send(window.tasks, limit)
                room -= sent
                if sent < limit:
                    self._full.discard(model)
                    break

    def _started_lately(self, model: str) -> int:
        starts, since = self._starts[model], self._clock.monotonic() - PACE_SECONDS
        while starts and starts[0] < since:
            starts.popleft()
        return len(starts)

    async def _send(self, tasks: Sequence[str], limit: int) -> int:
        jobs = await self._store.undispatched(tasks, limit=limit)
        if jobs:
            self._used.clear()
            await self._publish([hint_of(job) for job in jobs])
            # One that was claimed meanwhile may be queued again by now, and then it has no hint.
            await self._store.mark_dispatched([job.id for job in jobs if job.id not in self._used])
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
