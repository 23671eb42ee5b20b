"""The board: all components of a process, and the one verdict that everybody asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from glowplug.clock import Clock, SystemClock
from glowplug.errors import Conflict, NotFound
from glowplug.readiness.component import Component
from glowplug.readiness.deadlines import DEFAULT_DEADLINES, Deadlines
from glowplug.readiness.feed import Feed, first_version
from glowplug.readiness.history import Histories, MemoryHistories
from glowplug.readiness.shown import Shown
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.spec import Spec, Surroundings, Transition
from glowplug.readiness.state import Gates, State, verdict


def _ignore(_: Transition) -> None:
    """Hear a transition and do nothing."""


class Board(Feed):
    """Components by name, judged together; safe to use from any thread.

    `histories` remembers past loads, `on_transition` hears every change of state of a component and, with an empty
    name, of the whole: in the thread that made the change, so it must be quick.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        histories: Histories | None = None,
        on_transition: Callable[[Transition], None] = _ignore,
        gpu_available: bool | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._around = Surroundings(self._clock, histories or MemoryHistories(), self._changed, on_transition)
        self._gpu_available = gpu_available
        self._components: dict[str, Component] = {}
        self._around.version = first_version(self._clock)
        self._state = State.INITIALIZING
        self._began = self._since = self._clock.monotonic()
        self._draining = False
        self._startup_time_ms: float | None = None
        self._shown = Shown()

    def add(
        self,
        name: str,
        *,
        required: bool = True,
        model: str | None = None,
        device: str | None = None,
        gates: Gates | str = Gates.ALWAYS,
        label: str = "",
        deadlines: Deadlines = DEFAULT_DEADLINES,
    ) -> Component:
        """Register a component as pending and return it; see `Spec` for the meaning of each word.

        Raises `Conflict` when the name is taken.
        """
        spec = Spec(name, required, model, device, Gates(gates), label, deadlines)
        component = Component(spec, self._around)
        with self._around.lock:
            if name in self._components:
                raise Conflict(f"there is a component named {name!r} already")
            self._components[name] = component
        self._changed()
        return component

    def remove(self, name: str) -> None:
        """Take a component off the board. Raises `NotFound`."""
        with self._around.lock:
            if self._components.pop(name, None) is None:
                raise NotFound(f"no component named {name!r}")
        self._changed()

    def rename(self, name: str, new_name: str) -> None:
        """Call a component by the name that its model gave itself, once that is known; its past loads stay its own.

        Raises `NotFound`, and `Conflict` when the new name is taken.
        """
        if name == new_name:
            return
        with self._around.lock:
            component = self.component(name)
            if new_name in self._components:
                raise Conflict(f"there is a component named {new_name!r} already")
            model = component.spec.model and new_name
            component.spec = replace(component.spec, name=new_name, model=model)
            self._components = {one.name: one for one in self._components.values()}
        self._changed()

    def component(self, name: str) -> Component:
        """Return the component called `name`. Raises `NotFound`."""
        with self._around.lock:
            if name not in self._components:
                raise NotFound(f"no component named {name!r}")
            return self._components[name]

    @property
    def components(self) -> tuple[Component, ...]:
        """Return all components in the order in which they were added."""
        with self._around.lock:
            return tuple(self._components.values())

    @property
    def state(self) -> State:
        """Return the verdict on the whole."""
        return self._state

    @property
    def version(self) -> int:
        """Return the version of the picture of this moment; cheaper than the picture, and never waits."""
        return self._around.version

    def drain(self) -> None:
        """Say that the process leaves: it finishes what it has and is not ready any more. There is no way back."""
        with self._around.lock:
            self._draining = True
            self._around.version += 1
        for component in self.components:
            component.drain()
        self._changed()

    def renew(self) -> None:
        """Begin a new life with the same components, all pending: for an application that is started once more.

        Whoever still reports to a component of the life before is not heard.
        """
        with self._around.lock:
            self._components = {name: Component(one.spec, self._around) for name, one in self._components.items()}
            self._draining = False
            self._startup_time_ms = None
            self._began = self._clock.monotonic()
            self._shown.forget()
        self._changed()

    def snapshot(self) -> Snapshot:
        """Return the picture of this moment; from any thread."""
        with self._around.lock:
            snapshot = Snapshot.of(
                [component.snapshot() for component in self._components.values()],
                version=self._around.version,
                taken_at=self._clock.now(),
                draining=self._draining,
                startup_time_ms=self._startup_time_ms,
                gpu_available=self._gpu_available,
            )
            return self._shown.never_back(snapshot)

    def _changed(self) -> None:
        with self._around.lock:
            self._around.version += 1
            now, old = self._clock.monotonic(), self._state
            new = State.DRAINING if self._draining else verdict(self._components.values())
            transition = Transition("", old, new, now - self._since)
            if new is not old:
                self._state, self._since = new, now
            if new.can_serve and self._startup_time_ms is None:
                self._startup_time_ms = round((now - self._began) * 1000, 1)
        self.publish()
        if new is not old:
            self._around.transitioned(transition)
