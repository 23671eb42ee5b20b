"""The readiness routes for any FastAPI application, described in its OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from glowplug.web.documents import DOCUMENTS
from glowplug.web.glance import Glance
from glowplug.web.operations import Operation, operations
from glowplug.web.parts import ReadinessParts

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
_AS_IS: dict[str, Any] = {"response_model": None, "response_class": Response}


def readiness_router(parts: ReadinessParts, prefix: str = "", lifespan: Lifespan | None = None) -> APIRouter:
    """Return a router over `parts`, each path moved below `prefix` unless it lies there already.

    An application that includes it runs `lifespan` around its own.
    """
    router = ReadinessRouter(tags=["readiness"], lifespan=lifespan)
    table = operations(parts, prefix)
    for one in table.http:
        _add(router, one)
    router.add_api_websocket_route(table.socket_path, table.socket, name="init")
    return router


def _add(router: APIRouter, one: Operation) -> None:
    document = DOCUMENTS[one.path]
    router.add_api_route(
        one.where,
        one.endpoint,
        methods=[one.method],
        name=document.name,
        summary=document.summary,
        status_code=document.status,
        responses=document.answers,
        openapi_extra={"parameters": document.parameters} if document.parameters else None,
        **_AS_IS,
    )
    if one.method == "GET":
        # Load balancers ask like this; the document has it in GET.
        router.add_route(one.where, one.endpoint, methods=["HEAD"], include_in_schema=False)


class ReadinessRouter(APIRouter):
    """A router that says at a glance that a request is not for it."""

    _seen: int = 0
    _glance: Glance = Glance(frozenset(), frozenset(), everything=True)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Look at the end of the path before any route is tried; more routes may have been added since the last."""
        if len(self.routes) != self._seen:
            self._seen = len(self.routes)
            self._glance = Glance.of(getattr(route, "path", None) for route in self.routes)
        return super().matches(scope) if self._glance.may_be(scope["path"]) else (Match.NONE, {})
