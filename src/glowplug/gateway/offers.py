"""Tasks as other protocols name them: by a model that serves an operation, and whether one can be called now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glowplug.errors import NotFound, NotReady
from glowplug.gateway import pictures
from glowplug.gateway.catalog import Catalog, model_of
from glowplug.gateway.registry import Registry
from glowplug.store import TaskInfo

LONGEST_NAME = 80
NAMES_SHOWN = 20


class Offers:
    """What callers of other protocols can ask for. `wanted` hears which model a call has found asleep."""

    def __init__(self, catalog: Catalog, registry: Registry, wanted: Callable[[str], object]) -> None:
        self._catalog = catalog
        self._registry = registry
        self._wanted = wanted

    async def serving(self, operation: str, name: str) -> TaskInfo:
        """Return the task that `name`, a model or `model.task`, has for an operation.

        Raises:
            NotFound: there is none; the message names those that there are.
            NotReady: the model has not told its tasks yet.
        """
        found = self._serving(operation, name)
        if not found:
            await self._catalog.look_up(name)
            found = self._serving(operation, name)
        if len(found) == 1:
            return found[0]
        if found:
            said = f"{name!r} has several tasks for {operation}: name one of {_listed(task.name for task in found)}"
            raise NotFound(said, model=name, fields=[{"path": "model"}])
        self._check_unfinished(name)
        names = _listed(self.names(operation)) or "none"
        said = f"no model {name[:LONGEST_NAME]!r} for {operation}; there are: {names}"
        raise NotFound(said, model=name[:LONGEST_NAME], fields=[{"path": "model"}])

    def names(self, operation: str) -> list[str]:
        """Return the names that `serving` takes: a model's own where it has one task for the operation."""
        tasks = [task.name for task in self._catalog.tasks.values() if task.serves == operation]
        models = [model_of(name) for name in tasks]
        return sorted({model if models.count(model) == 1 else name for name, model in zip(tasks, models, strict=True)})

    async def task(self, name: str, chosen: str = "") -> TaskInfo:
        """Return the task called `name`, or the `chosen` (or only) one of the model called so.

        Raises:
            NotFound: there is none, or none was chosen of several; the message names those that there are.
            NotReady: the model has not told its tasks yet.
        """
        if name not in self._catalog.tasks and name not in self._catalog.models:
            await self._catalog.look_up(name)
        if name in self._catalog.tasks:
            return self._catalog.tasks[name]
        info = self._catalog.models.get(name)
        if info is None:
            self._check_unfinished(name)
            raise NotFound(f"no model {name[:LONGEST_NAME]!r}; there are: {_listed(self._catalog.models) or 'none'}")
        if not chosen and len(info.tasks) == 1:
            return info.tasks[0]
        found = self._catalog.tasks.get(f"{name}.{chosen}") or self._catalog.tasks.get(chosen)
        if found is None or model_of(found.name) != name:
            tasks = _listed(task.name for task in info.tasks)
            raise NotFound(f"name one of the model's tasks, as in {name}.TASK or in the parameter task: {tasks}")
        return found

    def check_ready(self, model: str) -> None:
        """Return if a worker is ready for the model; one where it sleeps is told to load it.

        Raises:
            LoadFailed: the load ended in an error.
            NotReady: it is on its way, what it leans on is gone, or nobody has it; `data["retry_after"]` says when to
                ask again.
        """
        if (error := self.refusal(model)) is not None:
            self._wanted(model)
            raise error

    def refusal(self, model: str) -> NotReady | None:
        """Return why no worker can be sent work for the model, None if one can; a probe asks this."""
        picture = self._registry.board.snapshot()
        one = picture.find(model)
        return None if one is not None and one.status.can_serve else pictures.refusal(picture, model)

    def _serving(self, operation: str, name: str) -> list[TaskInfo]:
        tasks = [task for task in self._catalog.tasks.values() if task.serves == operation]
        return [task for task in tasks if task.name == name] or [t for t in tasks if model_of(t.name) == name]

    def _check_unfinished(self, name: str) -> None:
        model = model_of(name)
        if model in self._registry.unfinished_models() and model not in self._catalog.models:
            self.check_ready(model)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)[:NAMES_SHOWN])
