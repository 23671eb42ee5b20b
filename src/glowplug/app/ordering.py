"""Where our routes stand among those of an application: behind all that cannot be meant for the same path.

A request is tried on one route after the other, so whatever stands in front costs every request a little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import Scope

from glowplug.web.glance import Glance

_PARAMETER = re.compile(r"{[^}]*}")
_SOMETHING = "something"


def step_back(app: Any) -> None:
    """Move each readiness router of an application behind the routes after it, up to the first that may meet its own.

    Nothing is moved where the framework does not keep an included router as one.
    """
    from glowplug.web.router import ReadinessRouter

    routes = getattr(app, "routes", None)
    if not isinstance(routes, list):
        return
    for entry in [one for one in routes if isinstance(getattr(one, "original_router", None), ReadinessRouter)]:
        place = routes.index(entry)
        meets = _Meeting(entry)
        others = next((at for at in range(place + 1, len(routes)) if meets(routes[at])), len(routes))
        routes.insert(others - 1, routes.pop(place))


class _Meeting:
    """Whether a route may be meant for a request that is for one of ours."""

    def __init__(self, entry: Any) -> None:
        ours = entry.original_router.routes
        prefix = entry.include_context.prefix
        self._glance = Glance.of(getattr(route, "path", None) for route in ours)
        self._samples = [scope for route in ours for scope in _requests(route, prefix)]

    def __call__(self, route: BaseRoute) -> bool:
        # By its path as well: one of theirs may be a special case of one of ours, which no sample tells.
        if any(self._glance.may_be(path) for path in _paths(route)):
            return True
        return any(route.matches(dict(sample))[0] is not Match.NONE for sample in self._samples)


def _requests(route: Any, prefix: str) -> Iterator[Scope]:
    path = prefix + _PARAMETER.sub(_SOMETHING, route.path)
    known: Scope = {"path": path, "root_path": "", "headers": []}
    if isinstance(route, WebSocketRoute):
        yield {**known, "type": "websocket"}
        return
    for method in route.methods or ():
        yield {**known, "type": "http", "method": method}


def _paths(route: Any) -> Iterator[str]:
    path = getattr(route, "path", None)
    if isinstance(path, str):
        yield path
    for inner in getattr(getattr(route, "original_router", None), "routes", ()):
        yield from _paths(inner)
