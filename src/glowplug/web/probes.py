"""The readiness routes that answer once: every body is a view of one snapshot.

On a worker there is one board. A gateway has two: its own, which its probes follow, or nothing could ever scale from
zero; and its models over all workers, of which everything else tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from glowplug.readiness import Feed, Snapshot

Answer = tuple[int, dict[str, Any]]
View = Callable[[], Answer]
Endpoint = Callable[[Request], Awaitable[Response]]

TOO_EARLY = 425


def probe_routes(own: Feed, models: Feed | None = None, *, early_status: int = TOO_EARLY) -> list[BaseRoute]:
    """Return the routes over a process's own board and, on a gateway, its models.

    `early_status` is the status of `/api/v1/admin/ready` while models load: 425, or 503 for clients that do not
    know it.
    """
    told = own if models is None else models
    views: Mapping[str, View] = {
        "/livez": _alive,
        "/readyz": lambda: own.snapshot().ready_probe(),
        "/startupz": lambda: _started(own.snapshot()),
        "/ready": lambda: own.snapshot().ready_probe(),
        "/health": lambda: (HTTPStatus.OK, told.snapshot().health()),
        "/api/health": lambda: (HTTPStatus.OK, told.snapshot().health()),
        "/api/ready": lambda: (HTTPStatus.OK, told.snapshot().api_ready()),
        "/api/v1/admin/ready": lambda: told.snapshot().admin_ready(early_status),
    }
    return [Route(path, _endpoint(view), methods=["GET"]) for path, view in views.items()]


def _alive() -> Answer:
    return HTTPStatus.OK, {"status": "alive"}


def _started(snapshot: Snapshot) -> Answer:
    """Return the answer for a start-up probe: good for ever once everything required was ready."""
    if snapshot.startup_time_ms is not None:
        return HTTPStatus.OK, {"started": True, "startup_time_ms": snapshot.startup_time_ms}
    status, body = snapshot.ready_probe()
    return (HTTPStatus.OK, {"started": True}) if status == HTTPStatus.OK else (status, {"started": False, **body})


def _endpoint(view: View) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        del request
        status, body = view()
        return JSONResponse(body, status, _headers(status, body))

    return endpoint


def _headers(status: int, body: Mapping[str, Any]) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if status != HTTPStatus.OK and "retry_after" in body:
        # Pages of other origins may read the header only if they are told of it.
        headers |= {"Retry-After": str(body["retry_after"]), "Access-Control-Expose-Headers": "Retry-After"}
    return headers
