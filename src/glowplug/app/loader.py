"""The contract of what stands behind a component and brings its value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from glowplug.app.options import ComponentOptions, ReadinessOptions
from glowplug.app.storage import Storage
from glowplug.lifecycle import Startable
from glowplug.readiness.component import Component


@dataclass(frozen=True, slots=True)
class Place:
    """Where a loader is put to work: its component, what was said of it and of the whole, and what all share."""

    component: Component
    options: ComponentOptions
    whole: ReadinessOptions
    storage: Storage

    @property
    def name(self) -> str:
        """Return the component's name."""
        return self.component.name


class Life(Startable, ABC):
    """One component between the start of the application and its end. `start` only begins the load."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.component = place.component

    @property
    @abstractmethod
    def value(self) -> Any:
        """Return what was loaded; asked for only while the component is ready, or drains after it was."""

    @property
    def can_retry(self) -> bool:
        """Say whether there is a failure that may be tried again."""
        return self.started and self.component.status.is_failed

    @abstractmethod
    async def retry(self) -> None:
        """Begin a new attempt; called where `can_retry`."""

    @abstractmethod
    async def warm_up(self) -> float | None:
        """Warm up again without leaving READY; return the seconds, None where there is nothing to do."""


class Loader(ABC):
    """How the value of a component comes to be.

    The seam for tests: before the start, `Readiness.loaders[name]` may be replaced by any other loader, such as
    `InProcess(lambda: fake)`; the options given with the component stay.

    `begins_at_once` is off where a load may hold up the whole interpreter: the server opens its port first.
    """

    begins_at_once: ClassVar[bool] = True

    @property
    def origin(self) -> str:
        """Return where the load is written: what it took is remembered for that, unless a model is named."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def life(self, place: Place) -> Life:
        """Return the component's life at `place`, not yet started."""
