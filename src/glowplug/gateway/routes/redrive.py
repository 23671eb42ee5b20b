"""The route of redrive: failed jobs that have something in common are queued again."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.documents import described
from glowplug.gateway.redrive import Redrive
from glowplug.gateway.schemas import RedriveJobs, RedrivenView
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import subject_of

BODY_BYTES = 64 * 1024
_redrive = msgspec.json.Decoder(RedriveJobs)


def router(gateway: Gateway) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["jobs"])
    again = Redrive(gateway.parts.store, gateway.ledger)

    @routes.post("/v1/jobs/redrive", **described(RedriveJobs, {200: RedrivenView}))
    async def redrive(request: Request) -> Response:
        """Queue failed jobs again, the newest that match, with fresh budgets; a user's token reaches its own alone."""
        wish = bodies.decode(_redrive, await bodies.read(request, BODY_BYTES))
        return bodies.answer(await again.redrive(wish, subject_of(request)))

    return routes
