"""The gateway's application: routes, guards, errors and the OpenAPI document around a `Gateway`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from glowplug.gateway import documents, problems
from glowplug.gateway.auth import Guard
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.routes import events, internal, jobs
from glowplug.gateway.service import Gateway


def build_app(parts: GatewayParts) -> FastAPI:
    """Return the application; its lifespan starts and stops the gateway, which is `app.state.gateway`."""
    gateway = Gateway(parts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with gateway:
            yield

    app = FastAPI(title="Glowplug", version=parts.policy.version, lifespan=lifespan)
    app.state.gateway = gateway
    problems.install(app)
    app.add_middleware(Guard, access=parts.policy.access)
    app.add_middleware(problems.Shield)
    # The workers' routes come first: they are asked most often.
    app.router.routes[:0] = [*internal.link_routes(gateway), *parts.probes(parts.board, gateway.registry.board)]
    app.include_router(jobs.router(gateway))
    app.include_router(events.router(gateway))
    documents.install(app)
    return app
