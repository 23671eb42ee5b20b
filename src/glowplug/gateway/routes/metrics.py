"""The route of the metrics, as the roof writes them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from glowplug.gateway.parts import Metrics


def metrics_routes(metrics: Metrics | None) -> list[BaseRoute]:
    """Return the route, none if nobody counts."""
    if metrics is None:
        return []
    source = metrics

    async def show(request: Request) -> Response:
        del request
        body, media_type = source()
        return Response(body, headers={"Content-Type": media_type})

    return [Route("/metrics", show, methods=["GET"])]
