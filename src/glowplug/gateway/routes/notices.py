"""Routes by which AI services that have no link tell that they are ready or have failed, and the list of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from glowplug.gateway import bodies
from glowplug.gateway.registry import checked_url, status_body
from glowplug.gateway.service import Gateway
from glowplug.store import WorkerRecord

NOTICE_BYTES = 64 * 1024
LONGEST_ERROR = 500


class ReadyNotice(msgspec.Struct, frozen=True):
    """A service is ready. `timestamp` is its own clock's: it is not compared with ours."""

    instance_id: str
    model_name: str | None = None
    load_time: float | None = None
    timestamp: float | None = None
    status: str = "ready"
    url: str | None = None


class ErrorNotice(msgspec.Struct, frozen=True):
    """A service has failed."""

    instance_id: str
    error: str
    timestamp: float | None = None
    status: str = "error"
    url: str | None = None


Endpoint = Callable[[Request], Awaitable[Response]]


def notice_routes(gateway: Gateway) -> list[BaseRoute]:
    """Return the routes of contract §2."""
    return [
        Route("/api/internal/ai-service-ready", _ready(gateway), methods=["POST"]),
        Route("/api/internal/ai-service-error", _error(gateway), methods=["POST"]),
        Route("/api/internal/ai-services/status", _status(gateway), methods=["GET"]),
    ]


def _ready(gateway: Gateway) -> Endpoint:
    decoder = msgspec.json.Decoder(ReadyNotice)

    async def ready(request: Request) -> Response:
        notice = bodies.decode(decoder, await bodies.read(request, NOTICE_BYTES))
        record = WorkerRecord(
            instance_id=notice.instance_id,
            status="ready",
            last_seen=gateway.parts.clock.now(),
            url=checked_url(notice.url),
            model_name=notice.model_name,
            load_time_seconds=notice.load_time,
        )
        await gateway.registry.noticed(record)
        return bodies.answer({"success": True})

    return ready


def _error(gateway: Gateway) -> Endpoint:
    decoder = msgspec.json.Decoder(ErrorNotice)

    async def error(request: Request) -> Response:
        notice = bodies.decode(decoder, await bodies.read(request, NOTICE_BYTES))
        record = WorkerRecord(
            instance_id=notice.instance_id,
            status="error",
            last_seen=gateway.parts.clock.now(),
            url=checked_url(notice.url),
            error=" ".join(notice.error.split())[:LONGEST_ERROR] or "unknown error",
        )
        await gateway.registry.noticed(record)
        return bodies.answer({"success": True})

    return error


def _status(gateway: Gateway) -> Endpoint:
    async def status(request: Request) -> Response:
        del request
        return bodies.answer(status_body(gateway.registry))

    return status
