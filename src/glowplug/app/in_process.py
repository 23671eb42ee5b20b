"""Loaders for this process: a developer's function, or a `Model` used as a plain object.

What it takes to load is imported when loading begins, so that an application's start does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glowplug.app.loader import Life, Loader, Place
from glowplug.app.performing import Function

if TYPE_CHECKING:
    from glowplug.load_context import LoadContext
    from glowplug.model import Model


@dataclass(frozen=True, slots=True)
class InProcess(Loader):
    """A function that returns the value: a plain one runs in a thread of its own, a coroutine function on the loop."""

    load: Callable[..., Any]
    begins_at_once: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Function.of(self.load, "component: load")

    @property
    def origin(self) -> str:
        """Return the file and the name of the function."""
        return Function.of(self.load, "component: load").written_at

    def life(self, place: Place) -> Life:
        """Return the life of what the function brings."""
        from glowplug.app.attempts import Attempts, Work

        warm_up = place.options.warm_up
        load = Function.of(self.load, place.name)
        return Attempts(Work(load, None if warm_up is None else Function.of(warm_up, place.name)), place)


@dataclass(frozen=True, slots=True)
class ModelInProcess(Loader):
    """A model as a plain object: the value is the instance. The examples of its tasks are not run here."""

    model: type[Model]
    begins_at_once: ClassVar[bool] = False

    @property
    def origin(self) -> str:
        """Return the module and the name of the class."""
        return f"{self.model.__module__}.{self.model.__qualname__}"

    def life(self, place: Place) -> Life:
        """Return the life of an instance of the model."""
        from glowplug.app.attempts import Attempts, Work
        from glowplug.model import Model

        own = self.model.warm_up is not Model.warm_up
        given = place.options.warm_up
        warming = Function.of(_Warming(own, given), place.name, 2) if own or given else None
        unload = None if self.model.unload is Model.unload else Function.of(self.model.unload, place.name)
        return Attempts(Work(Function.of(self._load, place.name), warming, unload), place)

    def _load(self, context: LoadContext) -> Model:
        model = self.model()
        model.load(context)
        return model


@dataclass(frozen=True, slots=True)
class _Warming:
    """The model's own warm-up, and then the one that was given with the component."""

    own: bool
    given: Callable[..., Any] | None

    def __call__(self, model: Model, context: LoadContext) -> Any:
        if self.own:
            model.warm_up(context)
        if self.given is None:
            return None
        given = Function.of(self.given, "component: warm_up")
        return given.call(*(model,)[: given.takes])
