"""Routes of the link: hot, and therefore plain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from glowplug.gateway import bodies
from glowplug.gateway.departure import Departure
from glowplug.gateway.service import Gateway
from glowplug.link import Claim, Claimed, Events, Finish, Register, Renew

M = TypeVar("M")
LINK = "/api/internal/link/"


def link_routes(gateway: Gateway) -> list[BaseRoute]:
    """Return the routes of the link: decode, call the desk, encode."""
    desk = gateway.desk
    calls: tuple[tuple[str, type[Any], Callable[[Any], Awaitable[Any]]], ...] = (
        ("register", Register, desk.register),
        ("renew", Renew, desk.renew),
        ("events", Events, desk.events),
        ("finish", Finish, desk.finish),
    )
    limit = gateway.policy.limits.link_bytes
    routes: list[BaseRoute] = [
        Route(LINK + name, _call(msgspec.json.Decoder(kind), call, limit), methods=["POST"])
        for name, kind, call in calls
    ]
    return [Route(LINK + "claim", _claim(gateway, msgspec.json.Decoder(Claim)), methods=["POST"]), *routes]


def _call(
    decoder: msgspec.json.Decoder[M], call: Callable[[M], Awaitable[Any]], limit_bytes: int
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        message = bodies.decode(decoder, await bodies.read(request, limit_bytes))
        return bodies.answer(await call(message))

    return endpoint


def _claim(gateway: Gateway, decoder: msgspec.json.Decoder[Claim]) -> Callable[[Request], Awaitable[Response]]:
    desk, limit_bytes = gateway.desk, gateway.policy.limits.link_bytes

    async def endpoint(request: Request) -> Response:
        message = bodies.decode(decoder, await bodies.read(request, limit_bytes))
        turn = desk.open_turn(message)
        try:
            with Departure(request, turn.end) as departure:
                claimed = await desk.serve(message, turn)
        finally:
            desk.close_turn(message, turn)
        if departure.gone:
            await desk.take_back(message.instance_id, claimed)
            claimed = Claimed()
        return bodies.answer(claimed)

    return endpoint
