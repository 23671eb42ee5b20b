"""The attempts that are here: from a grant that is taken to a settlement that is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from glowplug import events
from glowplug.errors import BugError, GlowplugError
from glowplug.job import Outcome, OutcomeKind
from glowplug.lifecycle import cancel
from glowplug.link import Grant
from glowplug.process.host import Host
from glowplug.runtime.directory import Directory
from glowplug.runtime.jobs import JobParts, JobRun, Phase
from glowplug.runtime.leases import Leases
from glowplug.runtime.notes import Notebook
from glowplug.runtime.outbox import Outbox
from glowplug.runtime.outcomes import failed
from glowplug.store import Hold, Settlement, Want


@dataclass(frozen=True, slots=True)
class RunsParts:
    """What the attempts use.

    `changed` is called when there is room for more; `limit` bounds the attempts that have left their slot.
    """

    worker: str
    hosts: Sequence[Host]
    leases: Leases
    outbox: Outbox
    notebook: Notebook
    jobs: JobParts
    changed: Callable[[], None]
    limit: int


class Runs:
    """Takes grants, and says what else could be taken."""

    def __init__(self, parts: RunsParts) -> None:
        self._parts = parts
        self._runs: dict[Hold, JobRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._directory = Directory(parts.hosts)
        self._open = True

    def __len__(self) -> int:
        return len(self._runs)

    def wants(self) -> tuple[Want, ...]:
        """Return what could be taken now: by ready models, for slots that nobody has been promised."""
        room = self._parts.limit + sum(host.slots for host in self._parts.hosts) - len(self._runs)
        if not self._open or room <= 0:
            return ()
        return tuple(want for host in self._parts.hosts if (want := self._want(host, room)))

    def covered_by(self, wants: Sequence[Want]) -> bool:
        """Say whether `wants` ask for jobs of every model that is ready."""
        return len(wants) >= sum(self._can_want(host) for host in self._parts.hosts)

    def take(self, grant: Grant, sent_at: float) -> None:
        """Run a grant of a claim sent at `sent_at`; one that cannot run any more is given back uncounted."""
        if grant.hold in self._runs:
            return
        self._parts.leases.add(grant.hold, sent_at)
        try:
            found = self._directory.find(grant.task)
        except GlowplugError:
            # The model was reloaded meanwhile and has the task no more.
            found = None
        if found is None or not self._open or not found[0].component.status.can_serve:
            self._background(self._settle(grant.hold, Outcome(OutcomeKind.INTERRUPTED)))
            return
        run = self._runs[grant.hold] = JobRun(grant, found, self._parts.jobs)
        self._background(self._work(run))

    def close(self) -> None:
        """Take nothing more, and interrupt what runs."""
        self._open = False
        for run in self._runs.values():
            run.stop(OutcomeKind.INTERRUPTED)

    def give_up(self) -> None:
        """Stop everything at once; only results that are there already are still told."""
        for run in self._runs.values():
            run.fence()

    async def quiet(self) -> None:
        """Wait until nothing is here any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abort(self) -> None:
        """Drop everything as it is; the leases run out."""
        for task in list(self._tasks):
            await cancel(task)

    def lost(self, hold: Hold) -> None:
        """Throw the work of a hold away: the job is somebody else's."""
        run = self._runs.get(hold)
        if run is not None and not run.lost:
            self._say_lost(hold)
            run.lose()

    def fenced(self, hold: Hold) -> None:
        """Stop the work of a hold that nobody confirmed in time."""
        if run := self._runs.get(hold):
            run.fence()

    def canceled(self, hold: Hold) -> None:
        """Stop the work of a hold, because its caller does not want it any more."""
        if run := self._runs.get(hold):
            run.stop(OutcomeKind.CANCELED)

    def cancel_job(self, job_id: str) -> None:
        """Stop a job; one that is not here any more is fine."""
        for hold in [hold for hold in self._runs if hold.job_id == job_id]:
            self.canceled(hold)

    def _can_want(self, host: Host) -> bool:
        return host.info is not None and host.component.status.can_serve

    def _want(self, host: Host, room: int) -> Want | None:
        if host.info is None or not self._can_want(host):
            return None
        promised = sum(run.host is host and run.phase is Phase.PREPARING for run in self._runs.values())
        slots = min(room, host.free_slots - promised)
        return Want(tuple(task.name for task in host.info.tasks), slots) if slots > 0 else None

    async def _work(self, run: JobRun) -> None:
        hold = run.hold
        try:
            outcome = await self._outcome(run)
            if not run.lost:
                # What is still to be told of the run is told before its end; what is refused is not worth the result.
                with suppress(GlowplugError):
                    await self._parts.notebook.flush(hold)
            if not run.lost:
                accepted = await self._settle(hold, outcome)
                if accepted and outcome.kind is OutcomeKind.COMPLETED:
                    await run.forget_checkpoints()
        finally:
            del self._runs[hold]
            self._parts.notebook.close(hold)
            self._parts.leases.forget(hold)
            self._parts.changed()

    async def _outcome(self, run: JobRun) -> Outcome:
        try:
            return await run.run()
        except Exception as error:  # noqa: BLE001 - a fault of ours in one job must not leave its lease to run out
            return failed(BugError(f"the worker failed: {error!r}"))

    async def _settle(self, hold: Hold, outcome: Outcome) -> bool:
        self._parts.leases.end(hold)
        accepted = await self._parts.outbox.settle(Settlement(hold, outcome))
        self._parts.leases.forget(hold)
        if not accepted:
            self._say_lost(hold)
        return accepted

    def _say_lost(self, hold: Hold) -> None:
        events.emit("job.lease_lost", job=hold.job_id, worker=self._parts.worker)

    def _background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(_finished(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _finished(work: Coroutine[Any, Any, object]) -> None:
    await work
