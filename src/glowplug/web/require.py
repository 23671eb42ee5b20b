"""A guard for routes that need models: until these are ready it answers in the route's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from glowplug.readiness import Feed
from glowplug.readiness.snapshot import Body
from glowplug.web.answers import CLOSED, flat
from glowplug.web.parts import TOO_EARLY

TRY_AGAIN_LATER = 1013
_HANDLERS = "starlette.exception_handlers"


class NotReadyAnswer(HTTPException):
    """The answer in place of a route whose models are not ready: a status and a flat body."""

    def __init__(self, status: int, body: Body) -> None:
        answer = flat(status, body, CLOSED)
        super().__init__(status, body["message"], dict(answer.headers))
        self.answer = answer


class Requirement:
    """A dependency: `Depends(requirement)` in FastAPI, `await requirement(connection)` in Starlette.

    `feed_of` finds the board of a connection, `names` are the components that must be ready, all required ones if
    empty. A WebSocket is accepted and closed with 1013, so that the page can read why.
    """

    def __init__(
        self, feed_of: Callable[[HTTPConnection], Feed], names: Sequence[str] = (), early_status: int = TOO_EARLY
    ) -> None:
        self.names = tuple(names)
        self._feed_of = feed_of
        self._early_status = early_status
        self._good: tuple[Feed, int] | None = None

    async def __call__(self, connection: HTTPConnection) -> None:
        """Return if the components are ready. Raises `NotReadyAnswer`, or closes a WebSocket."""
        try:
            self.check(connection)
        except NotReadyAnswer as early:
            if not isinstance(connection, WebSocket):
                raise
            # A browser that offered protocols fails, and tells its page nothing, unless one is chosen.
            await connection.accept(next(iter(connection.scope.get("subprotocols", ())), None))
            raise WebSocketException(TRY_AGAIN_LATER, early.detail) from early

    def check(self, connection: HTTPConnection) -> None:
        """Return if the components are ready. Raises `NotReadyAnswer`, and `NotFound` for a name nobody has."""
        feed = self._feed_of(connection)
        version = feed.version
        if self._good == (feed, version):
            return
        status, body = feed.snapshot().require(self.names, self._early_status)
        if not body["ready"]:
            _answer_here(connection)
            raise NotReadyAnswer(status, body)
        self._good = (feed, version)


def _answer_here(connection: HTTPConnection) -> None:
    """Let the application answer with the body as it is; the handler of its own that it may have comes first.

    The other ways are a middleware, through which every request of the application would go, or asking each
    application to install a handler.
    """
    handlers = connection.scope.get(_HANDLERS)
    if handlers:
        handlers[0].setdefault(NotReadyAnswer, _answer)


async def _answer(connection: HTTPConnection, error: Exception) -> Response:
    del connection
    assert isinstance(error, NotReadyAnswer)
    return error.answer
