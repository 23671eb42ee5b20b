"""The readiness routes that answer once: every body is a view of one snapshot.

On a worker there is one board. A gateway has two: its own, which its probes follow, or nothing could ever scale from
zero; and its models over all workers, of which everything else tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from glowplug.errors import NotFound
from glowplug.readiness import Snapshot
from glowplug.web import links
from glowplug.web.answers import JSON, OPEN, flat, problem
from glowplug.web.frames import Frames
from glowplug.web.parts import ReadinessParts

LONGEST_NAME = 80

View = Callable[[Request], Response]


class Probes:
    """The views over one set of boards."""

    def __init__(self, parts: ReadinessParts, frames: Frames) -> None:
        self._parts = parts
        self._frames = frames

    def views(self) -> Mapping[str, View]:
        """Return the view of each documented path."""
        return {
            links.API_READY: self._api_ready,
            links.ADMIN_READY: self._admin_ready,
            links.HEALTH: self._health,
            links.API_HEALTH: self._health,
            links.LIVE: lambda _: flat(HTTPStatus.OK, {"status": "alive"}),
            links.READY: self._ready,
            links.PROBE: self._ready,
            links.STARTED: self._started,
            links.READY_OF: lambda request: self._component(request.path_params["component"]),
            links.PROBE_OF: lambda request: self._component(request.path_params["component"]),
            links.SERVER_LIVE: lambda _: flat(HTTPStatus.OK, {"live": True}),
            links.SERVER_READY: lambda _: flat(*_inference(self._parts.told.snapshot())),
            links.MODEL_READY: lambda request: self._model(request.path_params["name"]),
        }

    def _api_ready(self, request: Request) -> Response:
        del request
        return Response(self._frames.newest().ready, headers=OPEN, media_type=JSON)

    def _admin_ready(self, request: Request) -> Response:
        del request
        return flat(*self._parts.told.snapshot().admin_ready(self._parts.early_status))

    def _health(self, request: Request) -> Response:
        del request
        return flat(HTTPStatus.OK, self._parts.told.snapshot().health())

    def _ready(self, request: Request) -> Response:
        del request
        return flat(*self._parts.own.snapshot().ready_probe())

    def _started(self, request: Request) -> Response:
        del request
        return flat(*_started(self._parts.own.snapshot()))

    def _component(self, name: str) -> Response:
        told = self._parts.told.snapshot()
        # A gateway's own parts can be asked for too, by names that no model has.
        board = told if told.find(name) else self._parts.own.snapshot()
        return flat(*board.only([name]).ready_probe())

    def _model(self, name: str) -> Response:
        snapshot = self._parts.told.snapshot()
        # The protocol has models alone: a task is asked for as `model.task`.
        names = (name, name.partition(".")[0])
        known = next((one for one in snapshot.components if one.name in names or one.model == name), None)
        if known is None:
            error = NotFound(f"no model named {name[:LONGEST_NAME]!r}")
            return problem(error, {"error": error.message})
        status, body = _inference(snapshot.only([known.name]))
        return flat(status, {"name": name, **body})


def _inference(snapshot: Snapshot) -> tuple[int, dict[str, Any]]:
    """Return the answer for a probe of the Open Inference Protocol, whose clients read why in `error`."""
    status, body = snapshot.ready_probe()
    return status, body if status == HTTPStatus.OK else {**body, "error": body["detail"]}


def _started(snapshot: Snapshot) -> tuple[int, dict[str, Any]]:
    """Return the answer for a start-up probe: good for ever once everything required was ready."""
    if snapshot.startup_time_ms is not None:
        return HTTPStatus.OK, {"started": True, "startup_time_ms": snapshot.startup_time_ms}
    status, body = snapshot.ready_probe()
    return (HTTPStatus.OK, {"started": True}) if status == HTTPStatus.OK else (status, {"started": False, **body})
