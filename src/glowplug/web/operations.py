"""All readiness routes as one table, from which either framework's routes are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from glowplug.errors import GlowplugError
from glowplug.web import links
from glowplug.web.actions import Doors
from glowplug.web.answers import problem
from glowplug.web.frames import Frames
from glowplug.web.overlay import overlay
from glowplug.web.parts import ReadinessParts
from glowplug.web.probes import Probes, View
from glowplug.web.streams import Streams

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: `path` is the documented one, `where` the one that it has under the prefix."""

    method: str
    path: str
    where: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Operations:
    """The table: what answers once and the streams, and the WebSocket apart."""

    http: tuple[Operation, ...]
    socket_path: str
    socket: Callable[[WebSocket], Awaitable[None]]


def operations(parts: ReadinessParts, prefix: str = "") -> Operations:
    """Return the routes below `prefix`; where two meet, the first in the table stays (see `links`)."""
    frames = Frames(parts.told, links.links(prefix, actions=parts.actions is not None), parts.clock)
    streams = Streams(parts, frames)
    chosen: dict[tuple[str, str], Operation] = {}
    for method, path, endpoint in _table(parts, frames, streams):
        where = links.below(prefix, path)
        chosen.setdefault((method, where), Operation(method, path, where, _answering(endpoint)))
    return Operations(tuple(chosen.values()), links.below(prefix, links.SOCKET), streams.socket)


def _table(parts: ReadinessParts, frames: Frames, streams: Streams) -> Iterator[tuple[str, str, Endpoint]]:
    yield "GET", links.STREAM, streams.events
    if parts.actions is not None:
        doors = Doors(parts, parts.actions)
        yield "POST", links.WARM_UP, doors.warm_up
        yield "POST", links.RETRY, doors.retry
        yield "POST", links.RETRY_OF, doors.retry_one
    for path, view in Probes(parts, frames).views().items():
        yield "GET", path, _endpoint(view)
    yield "GET", links.OVERLAY, overlay


def _endpoint(view: View) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return view(request)

    return endpoint


def _answering(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its errors as answers, whatever the application does with errors."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except GlowplugError as error:
            return problem(error)

    return answering
