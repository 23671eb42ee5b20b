"""The components of one application, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from glowplug.app.loader import Life, Loader, Place
from glowplug.app.options import ComponentOptions, ReadinessOptions
from glowplug.app.past import OwnPast
from glowplug.app.storage import Storage
from glowplug.errors import Conflict, Draining, GlowplugError, LoadFailed, NotFound, NotReady, Unavailable
from glowplug.events import emit
from glowplug.lifecycle import Startable, cancel
from glowplug.readiness.board import Board
from glowplug.readiness.component import Component
from glowplug.readiness.history import history_key
from glowplug.readiness.history_file import HistoryFile
from glowplug.readiness.state import Status
from glowplug.readiness.warm_up import WarmUp
from glowplug.telemetry.transitions import BoardEvents


class Lives(Startable):
    """The loaders of all components, and while the application runs, their lives."""

    def __init__(self, options: ReadinessOptions) -> None:
        self.loaders: dict[str, Loader] = {}
        self.head_start_seconds = 0.0
        self._said: dict[str, ComponentOptions] = {}
        self._options = options
        self._storage = Storage(options)
        self._past = OwnPast(HistoryFile(self._storage.cache / "history" / "loads.json"))
        self.board = Board(options.clock, self._past, on_transition=BoardEvents())
        self._lives: dict[str, Life] = {}
        self._beginnings: set[asyncio.Task[None]] = set()

    def add(self, name: str, loader: Loader, options: ComponentOptions) -> None:
        """Put a component with its loader on the board. Raises `Conflict` when the name is taken."""
        if options.model is None:
            self._past.tell_apart(history_key(name, options.device or ""), loader.origin)
        self.board.add(
            name,
            required=options.required,
            model=options.model,
            device=options.device,
            gates=options.chosen_gates,
            label=options.label,
            deadlines=options.deadlines(self._options),
        )
        self.loaders[name] = loader
        self._said[name] = options

    def begin_soon(self, names: Sequence[str]) -> None:
        """Begin to load components, after the head start."""
        self._beginnings.add(task := asyncio.create_task(self._begin_late(names), name="begin to load"))
        task.add_done_callback(self._beginnings.discard)

    def value(self, name: str) -> Any:
        """Return what was loaded. Raises `NotReady` until it is ready, and `NotFound`."""
        component, life = self.board.component(name), self._lives.get(name)
        status = component.status
        if not self._lives and status is Status.PENDING:
            raise NotReady(f"{name} is not loaded: its application has not begun; use it inside a route or a function")
        # What drains finishes the requests that it let in.
        serves = status.can_serve or (status is Status.DRAINING and component.was_ready)
        if life is None or not serves:
            raise not_ready(component)
        return life.value

    async def retry(self, names: Sequence[str]) -> tuple[str, ...]:
        """Load the failed components `names` again, or all that failed; return their names at once.

        Raises:
            NotFound: there is no component of that name.
            Conflict: there is nothing to load again.
        """
        chosen = list(dict.fromkeys(names or [one.name for one in self.board.components]))
        failed = [name for name in chosen if self._can_retry(name)]
        if not failed or (names and len(failed) < len(chosen)):
            sound = [f"{name} is {self.board.component(name).status}" for name in chosen if name not in failed]
            raise Conflict(f"there is nothing to retry: {', '.join(sound) or 'no component'}")
        for name in failed:
            if (life := self._begun(name)) is not None:
                await life.retry()
            else:
                await self._begin_each([name])
        return tuple(failed)

    async def warm_up(self) -> list[WarmUp]:
        """Warm every loaded component again, one after the other. Raises `Conflict` when nothing is loaded."""
        loaded = [life for life in self._lives.values() if life.component.status.can_serve]
        if not loaded:
            raise Conflict("nothing is loaded, so there is nothing to warm up")
        # One after the other: side by side they would measure each other.
        return [await _warmed(life) for life in loaded]

    async def _start(self) -> None:
        if not self.loaders:
            emit("app.empty", advice="add what it waits for with @ready.component(...)")
        waits = self.head_start_seconds > 0
        later = [name for name, loader in self.loaders.items() if waits and not loader.begins_at_once]
        if later:
            self.begin_soon(later)
        for name in [name for name in self.loaders if name not in later]:
            await self._begin(name)

    async def _stop(self) -> None:
        for task in list(self._beginnings):
            await cancel(task)
        lives, self._lives = self._lives, {}
        stopped = await asyncio.gather(*(life.stop() for life in lives.values()), return_exceptions=True)
        self._storage.close()
        for error in stopped:
            if isinstance(error, BaseException):
                raise error

    async def _begin_late(self, names: Sequence[str]) -> None:
        await asyncio.sleep(self.head_start_seconds)
        await self._begin_each(names)

    async def _begin_each(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                await self._begin(name)
            except Draining:
                return
            except Exception as error:  # noqa: BLE001 - nobody waits for it, so the component has to say it
                self.board.component(name).fail(f"the load could not begin: {type(error).__name__}: {error}")

    def _begun(self, name: str) -> Life | None:
        life = self._lives.get(name)
        return life if life is not None and life.started else None

    def _can_retry(self, name: str) -> bool:
        component, life = self.board.component(name), self._begun(name)
        # What could not even begin, for want of a folder to write to perhaps, may begin now.
        return life.can_retry if life is not None else self.started and component.status is Status.ERROR

    async def _begin(self, name: str) -> None:
        place = Place(self.board.component(name), self._said[name], self._options, self._storage)
        life = self._lives[name] = self.loaders[name].life(place)
        await life.start()


async def _warmed(life: Life) -> WarmUp:
    try:
        return WarmUp(life.component.name, await life.warm_up())
    except GlowplugError as error:
        return WarmUp(life.component.name, None, error.message)


def not_ready(component: Component) -> NotReady:
    """Return why a component cannot be used, and when to ask again."""
    seen, name = component.snapshot(), component.name
    if seen.status is Status.DRAINING:
        return Draining(f"{name} is draining: the application leaves")
    if seen.status is Status.UNAVAILABLE:
        return Unavailable(f"{name} is not available here: {seen.reason}")
    if seen.status is Status.ERROR:
        return LoadFailed(f"{name} is not ready: {seen.failure.error if seen.failure else seen.reason}")
    return NotReady(f"{name} is not ready yet: {seen.status}", retry_after=seen.estimated_seconds or 2)


def unknown(names: Sequence[str], board: Board) -> NotFound | None:
    """Return the error for the first of `names` that no component has, None if all are known."""
    known = [one.name for one in board.components]
    missing = [name for name in names if name not in known]
    listed = ", ".join(sorted(known)) or "none"
    return NotFound(f"no component named {missing[0]!r}; there are: {listed}") if missing else None
