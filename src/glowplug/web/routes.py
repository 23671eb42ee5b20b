"""The readiness routes for any Starlette application: the worker's and the gateway's too."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route, WebSocketRoute

from glowplug.web.glance import Group
from glowplug.web.operations import operations
from glowplug.web.parts import ReadinessParts


def readiness_routes(parts: ReadinessParts, prefix: str = "") -> list[BaseRoute]:
    """Return the routes over `parts`, each path moved below `prefix` unless it lies there already."""
    table = operations(parts, prefix)
    routes: list[BaseRoute] = [Route(one.where, one.endpoint, methods=[one.method]) for one in table.http]
    return [Group([*routes, WebSocketRoute(table.socket_path, table.socket)])]
