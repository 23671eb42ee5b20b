"""Which host has which task, and whether it can serve."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.errors import UnknownTask
from glowplug.process.host import Host
from glowplug.readiness.refusal import why_not_ready
from glowplug.store import ModelInfo, TaskInfo


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
                raise why_not_ready(host.component.snapshot())
        raise UnknownTask(f"this worker has no task {task!r}; there are: {', '.join(sorted(self._tasks)) or 'none'}")

    def ready(self, task: str) -> tuple[Host, TaskInfo]:
        """Return the host of a task that can serve it now. Raises what `find` raises, and `NotReady`."""
        host, _, info = self.find(task)
        if not host.component.status.can_serve:
            raise why_not_ready(host.component.snapshot())
        return host, info

    def _read(self) -> None:
        self._tasks = {
            task.name: (host, host.info, task)
            for host in self._hosts
            if host.info is not None
            for task in host.info.tasks
        }
