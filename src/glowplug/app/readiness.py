"""`Readiness`: what an application holds in its hand. The parts behind it do the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from glowplug.app.copies import explain_copies
from glowplug.app.home import at_home, is_home
from glowplug.app.in_process import InProcess, ModelInProcess
from glowplug.app.lives import Lives, unknown
from glowplug.app.loader import Loader
from glowplug.app.mounting import Guest, adopt, requirement, router, routes
from glowplug.app.options import (
    ComponentOptions,
    ComponentWords,
    ReadinessOptions,
    ReadinessWords,
    checked_name,
    read_options,
)
from glowplug.app.signals import Signals
from glowplug.app.telling import Telling
from glowplug.errors import Conflict, SettingsError
from glowplug.lifecycle import Startable, stop_all
from glowplug.readiness.feed import Subscription
from glowplug.readiness.snapshot import Snapshot

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.routing import BaseRoute

    from glowplug.app.conversing import ConversationWords
    from glowplug.model import Model
    from glowplug.readiness.warm_up import WarmUp

Loadable = TypeVar("Loadable", bound=Callable[..., Any])
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
HEAD_START_SECONDS = 0.02
"""How long loads wait for the server to open its port: one that holds the interpreter would else hold up that too."""


class Readiness(Startable):
    """The components that an application waits for: loaded in the background while it answers already.

        ready = Readiness()

        @ready.component("tts", warm_up=say_hello)
        def load_tts(ctx): ...

        app = FastAPI(lifespan=ready.lifespan)
        app.include_router(ready.router())

        @app.post("/speak", dependencies=[ready.require("tts")])
        def speak(text: str): return ready["tts"].speak(text)

    Its keywords are the fields of `ReadinessOptions`. What only asks (`is_ready`, `snapshot`, `ready["tts"]`) may be
    called from any thread. Without a web framework, use `async with ready:`.
    """

    def __init__(self, **options: Unpack[ReadinessWords]) -> None:
        self.options = read_options(ReadinessOptions, options, "Readiness")
        self._lives = Lives(self.options)
        self.board = self._lives.board
        self._telling = Telling(self.board, self.options)
        self._guest = Guest(
            self.board, self.options, self.retry, self.warm_up, self._telling.metrics, lambda: self.started
        )
        self._required: dict[str, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holders = 0
        self._signals = Signals(self.leave)

    # What there is.

    @property
    def loaders(self) -> dict[str, Loader]:
        """Return the loaders by component: the seam for tests, see `Loader`."""
        return self._lives.loaders

    def component(self, name: str, **options: Unpack[ComponentWords]) -> Callable[[Loadable], Loadable]:
        """Make the decorated function or `Model` the loader of component `name`; see `add`."""
        checked_name(name)

        def mark(load: Loadable) -> Loadable:
            self.add(name, load, **options)
            return load

        return mark

    def add(self, name: str, load: Callable[..., Any] | Loader, **options: Unpack[ComponentWords]) -> None:
        """Add a component. `load` returns its value: a function, a coroutine function, a `Model`, or a `Loader`.

        The function gets a `LoadContext`, or nothing. The keywords are the fields of `ComponentOptions`. After the
        start it begins to load at once, if called on the application's event loop.

        Raises:
            SettingsError: a wrong option, or a function with `isolate`.
            Conflict: the name is taken, or the application runs in another thread.
        """
        where = f"component {checked_name(name)!r}"
        said = read_options(ComponentOptions, options, where)
        loader, said = loader_of(load, said, where)
        if self.started and not is_home(self._loop):
            raise Conflict(f"{where}: the application runs already; add it before, or from its event loop")
        self._lives.add(name, loader, said)
        if self.started:
            self._lives.begin_soon([name])

    def __getitem__(self, name: str) -> Any:
        """Return what the loader of `name` returned. Raises `NotReady` until then, and `NotFound`."""
        return self._lives.value(name)

    # How it stands.

    def snapshot(self) -> Snapshot:
        """Return the picture of this moment."""
        return self.board.snapshot()

    def is_ready(self, *names: str) -> bool:
        """Say whether work may be sent now: to all that is required, or to the components `names`."""
        return self.board.is_ready(*names)

    async def wait_until_ready(self, *names: str, timeout: float | None = None) -> Snapshot:
        """Wait until `is_ready(*names)`. Raises `LoadFailed`, `Draining`, and `NotReady` after `timeout` seconds."""
        return await self.board.wait_until_ready(*names, timeout=timeout)

    def subscribe(self) -> Subscription:
        """Return an iterator over snapshots in the running loop: one at once, then one after each change."""
        return self.board.subscribe()

    # What may be done.

    async def retry(self, *names: str) -> tuple[str, ...]:
        """Load failed components again, those named or all, and return their names at once.

        Raises `NotFound`, and `Conflict` when there is nothing to retry.
        """
        return await at_home(self._loop, self._lives.retry(names))

    async def warm_up(self) -> list[WarmUp]:
        """Warm every loaded component again, all staying ready. Raises `Conflict` when nothing is loaded."""
        return await at_home(self._loop, self._lives.warm_up())

    def leave(self) -> None:
        """Say that the application leaves: nothing is ready any more, and open streams end."""
        self.board.drain()
        self.board.hang_up()

    # In a web application.

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Load while the application lives: `FastAPI(lifespan=ready.lifespan)`. Entered twice, it begins once."""
        adopt(app, self._guest)
        if self._holders and not is_home(self._loop):
            raise Conflict("this Readiness runs in another event loop already; make one for each application")
        self._holders += 1
        try:
            self._lives.head_start_seconds = HEAD_START_SECONDS
            await self.start()
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                await self.stop()

    def around(self, other: Lifespan) -> Lifespan:
        """Return a lifespan of both: this one begins before `other` and ends after it."""

        @asynccontextmanager
        async def both(app: Any) -> AsyncIterator[Any]:
            async with self.lifespan(app), other(app) as state:
                yield state

        return both

    def router(self, prefix: str = "", metrics: bool = False) -> APIRouter:
        """Return the readiness routes for FastAPI, below `prefix`; the router brings the lifespan along.

        With `metrics` there is `/metrics` for Prometheus too.
        """
        return router(self._guest, prefix, self.lifespan, metrics=metrics)

    def routes(self, prefix: str = "", metrics: bool = False) -> list[BaseRoute]:
        """Return the same routes for Starlette; there the lifespan has to be given to the application."""
        return routes(self._guest, prefix, metrics=metrics)

    def conversation(self, **options: Unpack[ConversationWords]) -> APIRouter:
        """Return `WS /ws/conversation` and `WS /ws/test` over functions of yours, for FastAPI.

        Its keywords are the fields of `ConversationOptions`; docs/guide/conversation.md tells of the frames.
        """
        from glowplug.app.conversing import ConversationOptions, conversation_router

        said = read_options(ConversationOptions, options, "conversation")
        self._required.update(dict.fromkeys(said.needs))
        return conversation_router(self._guest, said)

    def require(self, *names: str) -> Any:
        """Return a dependency for routes that need the components `names`, or all that is required.

        Until they are ready it answers for the route. Unknown names are told when the application starts.
        """
        self._required.update(dict.fromkeys(names))
        return requirement(self._guest, names)

    def check_names(self, names: Sequence[str]) -> None:
        """Raise `SettingsError` if a name is no component's."""
        if (error := unknown(names, self.board)) is not None:
            raise SettingsError(f"require: {error.message}")

    # Its life.

    async def _start(self) -> None:
        self.check_names(tuple(self._required))
        self._loop = asyncio.get_running_loop()
        self.board.renew()
        await self._telling.start()
        explain_copies()
        self._signals.install()
        await self._lives.start()

    async def _stop(self) -> None:
        self.leave()
        self._signals.restore()
        await stop_all((self._lives, self._telling))
        self._lives.head_start_seconds = 0.0
        self._loop = None


def loader_of(
    load: Callable[..., Any] | Loader, options: ComponentOptions, where: str
) -> tuple[Loader, ComponentOptions]:
    """Return the loader that a developer's function or model stands for, and the options with those of the model.

    Raises:
        SettingsError: what is to be isolated cannot be.
    """
    if isinstance(load, Loader):
        return load, options
    if isinstance(load, type):
        from glowplug.model import Model

        if issubclass(load, Model):
            return _loader_of_model(load, options, where)
    if options.isolate:
        raise SettingsError(
            f"{where}: isolate=True needs a Model, for a function cannot be sent to another process; write it as "
            "`class MyModel(glowplug.Model)` with a `load` and tasks, in a file that can be imported"
        )
    return InProcess(load), options


def _loader_of_model(model: type[Model], options: ComponentOptions, where: str) -> tuple[Loader, ComponentOptions]:
    said = replace(options, required=options.required and model.required)
    if not options.isolate:
        return ModelInProcess(model), replace(said, weights={**model.weights, **options.weights})
    from glowplug.app.isolated import Isolated

    return Isolated.of(model, options, where), said
