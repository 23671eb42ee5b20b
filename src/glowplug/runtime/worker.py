"""The worker: claims jobs while its models are ready, runs them, keeps their leases, and leaves in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug import events
from glowplug.artifact import ArtifactStore
from glowplug.clock import Clock
from glowplug.errors import BugError, GlowplugError
from glowplug.lifecycle import Startable, cancel
from glowplug.link import Claimed, Link, Order, OrderKind, Registered
from glowplug.process.host import Host
from glowplug.readiness.board import Board
from glowplug.runtime.announce import Announcer
from glowplug.runtime.direct import DirectApp
from glowplug.runtime.intake import Intake, IntakeCalls
from glowplug.runtime.jobs import JobParts
from glowplug.runtime.leases import LeaseCalls, Leases
from glowplug.runtime.notes import Notebook
from glowplug.runtime.outbox import Outbox
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.runs import Runs, RunsParts
from glowplug.runtime.scratch import sweep
from glowplug.runtime.sink import SinkParts
from glowplug.runtime.station import Station
from glowplug.runtime.uplink import Uplink
from glowplug.runtime.uploads import put_patiently
from glowplug.runtime.web_inputs import WebReader
from glowplug.store import ModelInfo

LAST_SECONDS = 3.0
"""What is left, once the time to drain is up, to tell the gateway that the jobs are free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What a worker is made of. The hosts, the link, the artifact store and the board are started by others.

    `scratch` is this worker's alone: what lies there at the start is removed. `direct` are the direct calls that the
    same models answer, None if the worker takes none; `web` reads the addresses that jobs name as files.
    """

    identity: WorkerIdentity
    hosts: Sequence[Host]
    link: Link
    artifacts: ArtifactStore
    board: Board
    clock: Clock
    scratch: Path
    direct: DirectApp | None = None
    policy: WorkerPolicy = WorkerPolicy()
    web: WebReader | None = None


class Worker(Startable):
    """The only job loop. It works on while the gateway is away, and gives up a job before its lease is over."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        policy, clock = parts.policy, parts.clock
        self._name = parts.identity.instance_id
        uplink = Uplink(parts.link, self._name, clock, self._restored)
        station = Station(uplink, parts.identity, clock, policy)
        self._leases = Leases(station)
        self._outbox = Outbox(station)
        self._notebook = Notebook(station, lambda hold: self._runs.lost(hold))
        put = put_patiently(parts.artifacts, clock, station.backoff)
        sinks = SinkParts(self._notebook, parts.artifacts, put, policy.log_bytes, policy.kept_checkpoints)
        jobs = JobParts(
            parts.artifacts, sinks, clock, station.backoff, parts.scratch, self.ring, policy.folders, parts.web
        )
        self._runs = Runs(
            RunsParts(
                worker=self._name,
                hosts=parts.hosts,
                leases=self._leases,
                outbox=self._outbox,
                notebook=self._notebook,
                jobs=jobs,
                changed=self.ring,
                limit=policy.unsettled_jobs,
            )
        )
        self._leases.tell(LeaseCalls(self._runs.lost, self._runs.fenced, self._runs.canceled, self._obey))
        self._announcer = Announcer(station, parts.board, parts.hosts, self._registered)
        self._intake = Intake(
            station, self._leases, IntakeCalls(self._runs.wants, self._runs.covered_by, self._claimed)
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._draining: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] | None = None

    @property
    def job_count(self) -> int:
        """Return how many jobs are here: granted, running, or with their end still on its way."""
        return len(self._runs)

    def ring(self) -> None:
        """Say that a slot was taken or freed."""
        self._intake.ring()

    async def drain(self, reason: str) -> None:
        """Leave: take nothing new, interrupt what runs, deliver what is done; returns when that is over.

        Safe to call again: everybody waits for the same end.
        """
        if self._draining is None:
            events.emit("worker.draining", worker=self._name, reason=reason)
            self._draining = asyncio.create_task(self._drain(), name="drain")
        await asyncio.wait([self._draining])

    async def wait_closed(self) -> None:
        """Wait until the worker has drained or was stopped. Raises the error that a loop of it ended with."""
        assert self._closed is not None, "start() comes before wait_closed()"
        await asyncio.shield(self._closed)

    async def _start(self) -> None:
        await sweep(self._parts.scratch)
        self._closed = asyncio.get_running_loop().create_future()
        for host in self._parts.hosts:
            self._hear_of_info(host)
        if self._parts.direct is not None:
            self._parts.direct.slot_taken = self.ring
            self._parts.direct.slot_freed = self._intake.freed
        self._loop(self._watch(), "board")
        self._loop(self._announcer.run(), "announcer")
        self._loop(self._leases.run(), "leases")
        self._loop(self._outbox.run(), "outbox")
        self._loop(self._notebook.run(), "notebook")
        self._loop(self._intake.run(), "intake")

    def _hear_of_info(self, host: Host) -> None:
        def described(info: ModelInfo) -> None:
            self._parts.board.rename(host.component.name, info.name)
            self._announcer.push()

        host.on_info = described
        if host.info is not None:
            described(host.info)

    async def _stop(self) -> None:
        await self._runs.abort()
        for task in [*self._tasks, self._draining]:
            await cancel(task)
        self._close(None)

    async def _drain(self) -> None:
        self._parts.board.drain()
        self._runs.close()
        if not await self._left_within(self._parts.policy.drain_seconds):
            self._runs.give_up()
            await self._left_within(LAST_SECONDS)
        self._close(None)

    async def _left_within(self, seconds: float) -> bool:
        direct = self._parts.direct
        leaving = [asyncio.create_task(self._quiet())]
        leaving += [asyncio.create_task(direct.leave())] if direct is not None else []
        late = asyncio.create_task(self._parts.clock.sleep(seconds))
        try:
            while leaving and not late.done():
                await asyncio.wait([*leaving, late], return_when=asyncio.FIRST_COMPLETED)
                leaving = [task for task in leaving if not task.done()]
            return not leaving
        finally:
            for task in [*leaving, late]:
                task.cancel()

    async def _quiet(self) -> None:
        await self._intake.emptied()
        await self._runs.quiet()

    async def _watch(self) -> None:
        async for snapshot in self._parts.board.watch():
            self._announcer.changed(snapshot)
            self._intake.ring()

    def _loop(self, run: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(run, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        # A loop ends by itself only by a fault of ours; a worker without it would look well and do nothing.
        if not loop.cancelled():
            self._close(loop.exception() or BugError(f"the worker's loop {loop.get_name()!r} ended"))

    def _close(self, error: BaseException | None) -> None:
        if self._closed is None or self._closed.done():
            return
        if error is None:
            self._closed.set_result(None)
        else:
            self._closed.set_exception(error)

    def _claimed(self, claimed: Claimed, sent_at: float) -> None:
        for grant in claimed.grants:
            self._runs.take(grant, sent_at)
        self._obey(claimed.orders)

    def _restored(self) -> None:
        self._announcer.push()

    def _registered(self, registered: Registered) -> None:
        self._leases.last(registered.lease_seconds)
        self._intake.open()
        self._obey(registered.orders)

    def _obey(self, orders: tuple[Order, ...]) -> None:
        for order in orders:
            if order.kind is OrderKind.CANCEL:
                self._runs.cancel_job(order.target)
            elif order.kind is OrderKind.REGISTER:
                self._intake.shut()
                self._announcer.push()
            else:
                self._loop_once(self.drain("order") if order.kind is OrderKind.DRAIN else self._load(order.target))

    def _loop_once(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _load(self, model: str) -> None:
        for host in self._parts.hosts:
            if host.component.name != model:
                continue
            with suppress(GlowplugError):
                await (host.reload() if host.started else host.start())
