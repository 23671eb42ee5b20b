"""The web side of a `Readiness`: its routes, its dependencies, and how an application knows it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response

from glowplug.app.inspection import holders, required_by
from glowplug.app.options import ReadinessOptions
from glowplug.app.ordering import step_back
from glowplug.errors import NotReady, SettingsError
from glowplug.readiness.board import Board
from glowplug.readiness.state import State
from glowplug.readiness.warm_up import WarmUp
from glowplug.web.answers import problem
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import local_only
from glowplug.web.require import NotReadyAnswer, Requirement

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.requests import HTTPConnection
    from starlette.routing import BaseRoute

_log = logging.getLogger("glowplug")
_NEVER_STARTED = (
    "this Readiness was never started; give the application its lifespan, FastAPI(lifespan=ready.lifespan), and of an "
    "application that is mounted the outer one; in a test, use `with TestClient(app) as client`"
)
STATE = "glowplug_readiness"
"""Where the state of an application keeps those that it was started with."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Guest:
    """What an application knows of a `Readiness`; its actions run on the event loop of the components."""

    board: Board
    options: ReadinessOptions
    retry_named: Callable[..., Awaitable[Sequence[str]]]
    warm_all: Callable[[], Awaitable[Sequence[WarmUp]]]
    metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    runs: Callable[[], bool]

    def __post_init__(self) -> None:
        _KNOWN.add(self)

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        """Load failed components again."""
        return await self.retry_named(*names)

    async def warm_up(self) -> Sequence[WarmUp]:
        """Warm every loaded component again."""
        return await self.warm_all()

    def knows(self, names: Sequence[str]) -> bool:
        """Say whether all of `names` are components."""
        return set(names) <= {one.name for one in self.board.components}

    def parts(self) -> ReadinessParts:
        """Return what the routes are made of."""
        return ReadinessParts(
            own=self.board,
            actions=self,
            permit=local_only(self.options.token),
            early_status=self.options.early_status,
            clock=self.options.clock,
        )


def require_ready(*names: str) -> Any:
    """Return a dependency for routes that need the components `names` of the application's own `Readiness`.

    For modules that do not see that object; else use its `require`. Unknown names are told when the application starts.
    """
    from fastapi import Depends

    return Depends(OwnRequirement(names))


def requirement(guest: Guest, names: Sequence[str]) -> Any:
    """Return a dependency on components of `guest`."""
    from fastapi import Depends

    return Depends(GuestRequirement(guest, names))


def never_started(guest: Guest) -> bool:
    """Say whether nobody entered the lifespan, so that nothing will ever be ready."""
    return not guest.runs() and guest.board.snapshot().state is State.INITIALIZING


def adopt(app: Any, guest: Guest) -> None:
    """Let an application, and those mounted in it, know its `Readiness`, and check what their routes require.

    Raises:
        SettingsError: a route requires what does not exist.
    """
    step_back(app)
    for holder in holders(app):
        if hasattr(holder, "exception_handlers"):
            _answer_not_ready(holder)
        if hasattr(holder, "state"):
            guests = getattr(holder.state, STATE, ())
            setattr(holder.state, STATE, guests if guest in guests else (*guests, guest))
        for names in required_by(holder):
            # Another Readiness of the same application may begin after this one.
            if not any(known.knows(names) for known in _KNOWN):
                listed = ", ".join(one.name for one in guest.board.components) or "none"
                asked = ", ".join(map(repr, names))
                raise SettingsError(f"a route requires {asked}, which is not all there; there are: {listed}")


def _answer_not_ready(app: Any) -> None:
    """Let `ready["tts"]` in a route without a guard end in 503, not in 500, unless the application answers itself."""
    if NotReady in app.exception_handlers:
        return
    app.add_exception_handler(NotReady, _not_ready)
    # The handlers of an application that has begun are in its stack already.
    layer = getattr(app, "middleware_stack", None)
    while layer is not None and not isinstance(layer, ExceptionMiddleware):
        layer = getattr(layer, "app", None)
    if layer is not None:
        layer.add_exception_handler(NotReady, _not_ready)


async def _not_ready(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, NotReady)
    return problem(error)


def router(guest: Guest, prefix: str, lifespan: Any, *, metrics: bool) -> APIRouter:
    """Return the routes for FastAPI."""
    from starlette.responses import PlainTextResponse

    from glowplug.web.router import readiness_router

    made = readiness_router(guest.parts(), prefix, lifespan)
    if metrics:
        made.add_api_route(f"{prefix}/metrics", _metrics_of(guest), response_class=PlainTextResponse)
    return made


def routes(guest: Guest, prefix: str, *, metrics: bool) -> list[BaseRoute]:
    """Return the routes for Starlette."""
    from starlette.routing import Route

    from glowplug.web.routes import readiness_routes

    made = readiness_routes(guest.parts(), prefix)
    if metrics:
        answer = _metrics_of(guest)

        async def endpoint(_: Request) -> Response:
            return await answer()

        made.append(Route(f"{prefix}/metrics", endpoint))
    return made


def _metrics_of(guest: Guest) -> Callable[[], Awaitable[Response]]:
    async def metrics() -> Response:
        body, media_type = await guest.metrics()
        return Response(body, media_type=media_type)

    return metrics


_KNOWN: weakref.WeakSet[Guest] = weakref.WeakSet()


class GuestRequirement(Requirement):
    """A requirement of one `Readiness`, which says in the log if nobody started that: it would wait for ever."""

    def __init__(self, guest: Guest, names: Sequence[str]) -> None:
        super().__init__(lambda _: guest.board, names, guest.options.early_status)
        self._guest = guest
        self._explained = False

    def check(self, connection: HTTPConnection) -> None:
        """Return if the components are ready. Raises `NotReadyAnswer`."""
        try:
            super().check(connection)
        except NotReadyAnswer:
            if not self._explained and never_started(self._guest):
                self._explained = True
                _log.warning("%s waits for components that nobody loads: %s", connection.url.path, _NEVER_STARTED)
            raise


class OwnRequirement(Requirement):
    """A requirement that finds the `Readiness` of the application that a request is for."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(self._board, names)
        self._of: weakref.WeakKeyDictionary[Guest, Requirement] = weakref.WeakKeyDictionary()

    def check(self, connection: HTTPConnection) -> None:
        """Return if the components are ready. Raises `NotReadyAnswer`."""
        guest = self._guest(connection)
        found = self._of.get(guest)
        if found is None:
            board = guest.board
            found = self._of[guest] = Requirement(lambda _: board, self.names, guest.options.early_status)
        found.check(connection)

    def _board(self, connection: HTTPConnection) -> Board:
        return self._guest(connection).board

    def _guest(self, connection: HTTPConnection) -> Guest:
        guests: Sequence[Guest] = getattr(connection.app.state, STATE, ())
        found = next((guest for guest in guests if guest.knows(self.names)), None)
        if found is None:
            raise SettingsError(
                f"require_ready({', '.join(map(repr, self.names))}): this application was started without a Readiness "
                "that has it; use FastAPI(lifespan=ready.lifespan)"
            )
        return found
