"""Starts workers, starts them again with back-off when they end unasked, and reports each death at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.clock import Clock
from glowplug.errors import GlowplugError
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel
from glowplug.runtime.backoff import Backoff
from glowplug.supervisor.plan import WorkerPlan, target_folder
from glowplug.supervisor.process import Forward, WorkerProcess, to_stderr

USAGE_EXIT = 2

OnDeath = Callable[[str], Awaitable[bool]]
"""Hears of a dead worker by its instance id; says whether it had been ready, so that its end was no failed start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPolicy:
    """How patient the supervisor is. A worker that lived `forgiven_after_seconds` starts with a clean record.

    `reload` starts a worker again when Python files beside its target change.
    """

    backoff: Backoff = Backoff(base_seconds=0.5, cap_seconds=30.0)
    forgiven_after_seconds: float = 60.0
    grace_seconds: float = 35.0
    reload: bool = False


class Supervisor(Startable):
    """Keeps the planned workers alive from `start` to `stop`; start it in the main thread.

    `on_death` is awaited with the instance id as soon as a process is seen dead and before it is started again, so
    that what it held is given back first.
    """

    def __init__(
        self,
        plans: Sequence[WorkerPlan],
        on_death: OnDeath,
        *,
        clock: Clock,
        policy: SupervisorPolicy | None = None,
        forward: Forward = to_stderr,
    ) -> None:
        self._policy = policy or SupervisorPolicy()
        self._keepers = [Keeper(plan, self._policy, clock, on_death, forward) for plan in plans]
        self._watch: asyncio.Task[None] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the workers that run now, by instance id."""
        return {keeper.plan.instance_id: keeper.pid for keeper in self._keepers if keeper.pid is not None}

    @property
    def given_up(self) -> list[str]:
        """Return the targets whose worker said, by exit code 2, that starting it again would not help."""
        return [keeper.plan.target for keeper in self._keepers if keeper.given_up]

    async def reload(self, target: str) -> None:
        """Start the workers of `target` again: in order, and forgetting that they failed before."""
        await asyncio.gather(*(keeper.reload() for keeper in self._keepers if keeper.plan.target == target))

    async def _start(self) -> None:
        for keeper in self._keepers:
            await keeper.start()
        if self._policy.reload:
            self._watch = asyncio.create_task(self._reload_on_change())

    async def _stop(self) -> None:
        await cancel(self._watch)
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))

    async def _reload_on_change(self) -> None:
        from watchfiles import PythonFilter, awatch

        targets = {keeper.plan.target for keeper in self._keepers}
        folders = {target: folder for target in targets if (folder := target_folder(target)) is not None}
        if not folders:
            return
        async for changes in awatch(*set(folders.values()), watch_filter=PythonFilter(), debounce=400):
            changed = [Path(path) for _, path in changes]
            for target, folder in folders.items():
                if any(path.is_relative_to(folder) for path in changed):
                    await self.reload(target)


class Keeper(Startable):
    """Keeps one worker alive."""

    def __init__(
        self,
        plan: WorkerPlan,
        policy: SupervisorPolicy,
        clock: Clock,
        on_death: OnDeath,
        forward: Forward,
    ) -> None:
        self.plan = plan
        self.given_up = False
        self._policy = policy
        self._clock = clock
        self._on_death = on_death
        self._forward = forward
        self._failures = 0
        self._process: WorkerProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Return the process id of the worker, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def reload(self) -> None:
        """End the worker in order, if it runs, and start it again at once."""
        self._again.set()
        if self._process is not None:
            await self._process.end(self._policy.grace_seconds)

    async def _start(self) -> None:
        # The first spawn happens here and not in the task, so that the model's load begins before anything else.
        await self._spawn()
        self._task = asyncio.create_task(self._keep())

    async def _stop(self) -> None:
        await cancel(self._task)
        if self._process is not None:
            await self._process.end(self._policy.grace_seconds)
            await self._bury(self._process)

    async def _keep(self) -> None:
        while True:
            began = self._clock.monotonic()
            exit_code, was_ready = None, False
            if self._process is not None:
                exit_code = await self._process.exited()
                was_ready = await self._bury(self._process)
            if self._again.is_set():
                self._failures = 0
            else:
                forgiven = self._clock.monotonic() - began >= self._policy.forgiven_after_seconds
                self._failures = 0 if was_ready else 1 if forgiven else self._failures + 1
                await self._wait_to_restart(exit_code)
            self._again.clear()
            await self._spawn()

    async def _spawn(self) -> None:
        try:
            self._process = await WorkerProcess.spawn(self.plan, self._forward)
        except OSError as error:
            self._forward(self.plan, f"the worker cannot be started: {error}")

    async def _bury(self, process: WorkerProcess) -> bool:
        self._process = None
        try:
            return await self._on_death(self.plan.instance_id)
        except GlowplugError as error:
            # What it held is then freed by its leases' end, only later.
            emit("store.failed", error=str(error))
            return False
        finally:
            await process.close()

    async def _wait_to_restart(self, exit_code: int | None) -> None:
        self.given_up = exit_code == USAGE_EXIT
        delay = None if self.given_up else self._delay_seconds()
        emit("worker.exited", worker=self.plan.instance_id, exit=exit_code, restart_in_seconds=delay)
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._again.wait())]
        if delay is not None:
            waits.append(asyncio.create_task(_slept(self._clock, delay)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                await cancel(wait)
        self.given_up = False

    def _delay_seconds(self) -> float:
        return self._policy.backoff.delay_seconds(self._failures) if self._failures else 0.0


async def _slept(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)
