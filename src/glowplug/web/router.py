"""The readiness routes for any FastAPI application, described in its OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from glowplug.web.operations import operations
from glowplug.web.parts import ReadinessParts

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def readiness_router(parts: ReadinessParts, prefix: str = "", lifespan: Lifespan | None = None) -> APIRouter:
    """Return a router over `parts`, each path moved below `prefix` unless it lies there already.

    An application that includes it runs `lifespan` around its own.
    """
    router = _QuickRouter(tags=["readiness"], lifespan=lifespan)
    table = operations(parts, prefix)
    for one in table.http:
        plain: dict[str, Any] = {"response_model": None, "response_class": Response}
        router.add_api_route(one.where, one.endpoint, methods=[one.method], **plain)
        if one.method == "GET":
            router.add_api_route(one.where, one.endpoint, methods=["HEAD"], include_in_schema=False, **plain)
    router.add_api_websocket_route(table.socket_path, table.socket)
    return router


class _QuickRouter(APIRouter):
    """A router that knows at a glance that a request is not for it, so that the application's own pay nothing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Compare the end of the path, which no prefix changes, before any route is tried."""
        return super().matches(scope)
