"""The gateway's duties: small things done again and again, each on its own, none of which can stop another."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from glowplug.broker import Broker, Hint
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, RemoteError
from glowplug.events import emit
from glowplug.gateway.caller import Caller
from glowplug.gateway.catalog import model_of
from glowplug.gateway.desk import Desk
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.policy import Pace
from glowplug.gateway.registry import Entry, Registry, probe_record
from glowplug.gateway.room import Room
from glowplug.job import Job
from glowplug.lifecycle import Startable, cancel
from glowplug.readiness import Component
from glowplug.store import Depth, Store

REAP_LIMIT = 100


class Duty(ABC):
    """Something to do every `every_seconds`, for the first time after `first_seconds`."""

    name = ""

    def __init__(self, every_seconds: float, first_seconds: float | None = None) -> None:
        self.every_seconds = every_seconds
        self.first_seconds = every_seconds if first_seconds is None else first_seconds

    @abstractmethod
    async def turn(self) -> None:
        """Do it once."""


class Rota(Startable):
    """Gives each duty its turns; one that raises is reported, and has its next turn all the same."""

    def __init__(self, duties: Sequence[Duty], clock: Clock) -> None:
        self._duties = duties
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    async def _start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(duty), name=f"duty {duty.name}") for duty in self._duties]

    async def _stop(self) -> None:
        for task in self._tasks:
            await cancel(task)
        self._tasks = []

    async def _keep(self, duty: Duty) -> None:
        await self._clock.sleep(duty.first_seconds)
        while True:
            try:
                await duty.turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may go well
                emit("duty.failed", duty=duty.name, error=f"{type(error).__name__}: {error}", exception=error)
            await self._clock.sleep(duty.every_seconds)


class Reaper(Duty):
    """Takes expired leases back.

    The first turn waits for a renewal's time: after a restart, workers that are alive must get their chance to say so.
    """

    name = "reaper"

    def __init__(
        self, desk: Desk, store: Store, pace: Pace, lease_seconds: float, jitter: Callable[[], float] = random.random
    ) -> None:
        super().__init__(pace.reap_seconds, first_seconds=min(lease_seconds / 3 + jitter(), 10.0))
        self._desk = desk
        self._store = store

    async def turn(self) -> None:
        """Take back what has expired."""
        while holds := await self._store.expired(limit=REAP_LIMIT):
            for settled in await self._desk.leases_expired(holds):
                if settled.accepted and settled.job is not None:
                    _tell_reaped(settled.job)
            if len(holds) < REAP_LIMIT:
                return


class Expiry(Duty):
    """Ends queued jobs that nobody could start in time."""

    name = "expiry"

    def __init__(self, ledger: Ledger, pace: Pace) -> None:
        super().__init__(pace.reap_seconds)
        self._ledger = ledger

    async def turn(self) -> None:
        """End what is past its time."""
        while len(await self._ledger.expire(limit=REAP_LIMIT)) == REAP_LIMIT:
            continue


class Queues:
    """Which tasks have work that nobody is ready for; told once per change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._held: set[str] = set()

    def judge(self, depths: Mapping[str, Depth]) -> None:
        """Look at all the queues."""
        ready = self._ready()
        waiting = {task: depth.due for task, depth in depths.items() if depth.due}
        for task in sorted(self._held - waiting.keys()):
            self._held.discard(task)
        for task, due in waiting.items():
            if model_of(task) not in ready and task not in self._held:
                self._held.add(task)
                emit("queue.held", task=task, queued=due)
        self.resume()

    def resume(self) -> None:
        """Tell which queues move again, now that a worker has changed."""
        if not self._held:
            return
        ready = self._ready()
        for task in sorted(task for task in self._held if model_of(task) in ready):
            self._held.discard(task)
            emit("queue.resumed", task=task)

    def _ready(self) -> set[str]:
        return {model for entry in self._registry for model in entry.ready_models}


class Reconciler(Duty):
    """Repeats hints for work that is due, wakes sleeping models that have work, and sees whether the store answers."""

    name = "reconciler"

    def __init__(self, store: Store, broker: Broker, desk: Desk, queues: Queues, own: Component, pace: Pace) -> None:
        super().__init__(pace.reconcile_seconds)
        self._store = store
        self._broker = broker
        self._desk = desk
        self._queues = queues
        self._own = own

    async def turn(self) -> None:
        """Look at all the queues once."""
        try:
            depths = await self._store.depths()
        except GlowplugError as error:
            emit("store.failed", error=error.message)
            self._own.fail(f"the store does not answer: {error.message}", "transient")
            return
        self._own.ready()
        due = [task for task, depth in depths.items() if depth.due]
        self._queues.judge(depths)
        # Orders may get lost on the way, so they are repeated for as long as there is work.
        for model in {model_of(task) for task in due}:
            self._desk.want_loaded(model)
        # Where the broker carries hints, the relay knows which it has; to repeat them is another duty.
        if not self._broker.carries:
            with suppress(RemoteError):
                await self._broker.publish([Hint("", task) for task in due])


class Ageing(Duty):
    """Lets workers that nobody has heard of for long go offline."""

    name = "ageing"

    def __init__(self, registry: Registry, pace: Pace) -> None:
        super().__init__(pace.age_seconds)
        self._registry = registry

    async def turn(self) -> None:
        """Age the registry."""
        await self._registry.age()


class Prober(Duty):
    """Asks every worker that has an address how it is; the first time at once, to check what a restart remembers."""

    name = "prober"

    def __init__(self, registry: Registry, caller: Caller, clock: Clock, pace: Pace) -> None:
        super().__init__(pace.probe_seconds, first_seconds=0.0)
        self._registry = registry
        self._caller = caller
        self._clock = clock

    async def turn(self) -> None:
        """Probe them all at the same time."""
        await asyncio.gather(*(self._probe(entry) for entry in self._registry if entry.record.url))

    async def _probe(self, entry: Entry) -> None:
        health = await self._caller.health(entry.record.url or "")
        found = None if health is None else probe_record(entry.record, health, self._clock.now())
        await self._registry.probed(entry.record.instance_id, found)


class DiskWatch(Duty):
    """Looks how much room is left."""

    name = "disk"

    def __init__(self, room: Room, pace: Pace) -> None:
        super().__init__(pace.disk_seconds, first_seconds=0.0)
        self._room = room

    async def turn(self) -> None:
        """Look once."""
        self._room.look()


def _tell_reaped(job: Job) -> None:
    last = job.attempts[-1]
    emit("job.reaped", job=job.id, worker=last.worker_id, attempt=last.number)
