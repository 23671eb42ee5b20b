"""Which host has which task, and whether it can serve."""

from __future__ import annotations

import math
from collections.abc import Sequence

from glowplug.errors import Draining, GlowplugError, LoadFailed, NotReady, UnknownTask
from glowplug.process.host import Host
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.state import Gates, Status
from glowplug.store import ModelInfo, TaskInfo

UNKNOWN_SECONDS = 2
LONGEST_SECONDS = 30


class Directory:
    """The tasks of some hosts, looked up by name; what a host says of itself may change with a reload."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._tasks: dict[str, tuple[Host, ModelInfo, TaskInfo]] = {}

    def knows(self, task: str) -> bool:
        """Say whether some host has the task."""
        return task in self._tasks

    def find(self, task: str) -> tuple[Host, ModelInfo, TaskInfo]:
        """Return the host of a task, and what is known of it.

        Raises:
            NotReady: a model has not said yet which tasks it has.
            UnknownTask: no model here has it.
        """
        found = self._tasks.get(task)
        if found is None or found[0].info is not found[1]:
            self._read()
            found = self._tasks.get(task)
        if found is not None:
            return found
        for host in self._hosts:
            if host.info is None:
                raise not_ready(host.component.snapshot())
        raise UnknownTask(f"this worker has no task {task!r}; there are: {', '.join(sorted(self._tasks)) or 'none'}")

    def ready(self, task: str) -> tuple[Host, TaskInfo]:
        """Return the host of a task that can serve it now. Raises what `find` raises, and `NotReady`."""
        host, _, info = self.find(task)
        if not host.component.status.can_serve:
            raise not_ready(host.component.snapshot())
        return host, info

    def _read(self) -> None:
        self._tasks = {
            task.name: (host, host.info, task)
            for host in self._hosts
            if host.info is not None
            for task in host.info.tasks
        }


def not_ready(component: ComponentSnapshot) -> GlowplugError:
    """Return why a component cannot serve, and when to ask again."""
    if component.status.is_failed:
        why = component.failure.error if component.failure else component.reason
        if component.gates is Gates.START and component.was_ready:
            # The model is well, and what it leans on may come back at any moment.
            return NotReady(
                f"{component.name} does not work at the moment: {why}",
                component=component.name,
                retry_after=UNKNOWN_SECONDS,
            )
        return LoadFailed(f"{component.name} could not be loaded: {why}", component=component.name)
    if component.status is Status.DRAINING:
        return Draining("the worker is leaving; call again to reach another one", retry_after=1)
    seconds = component.estimated_seconds
    return NotReady(
        f"{component.name} is {component.status.value}",
        component=component.name,
        state=component.status.value,
        progress=int(component.percent),
        estimated_seconds=seconds,
        retry_after=UNKNOWN_SECONDS if seconds is None else min(LONGEST_SECONDS, max(1, math.ceil(seconds))),
    )
