"""The gateway's application: routes, guards, errors and the OpenAPI document around a `Gateway`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from glowplug.gateway import documents, problems
from glowplug.gateway.auth import Guard
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.routes import (
    artifacts,
    batches,
    conversation,
    deliveries,
    events,
    inference,
    job_socket,
    jobs,
    link,
    metrics,
    models,
    notices,
    openai_audio,
    openai_images,
    openai_text,
    redrive,
    run,
    uploads,
)
from glowplug.gateway.service import Gateway
from glowplug.gateway.signing import LinkSigner

_ROUTERS = (
    jobs.router,
    redrive.router,
    batches.router,
    events.router,
    deliveries.router,
    run.router,
    models.router,
    artifacts.router,
    artifacts.internal_router,
    uploads.router,
    openai_text.router,
    openai_images.router,
    openai_audio.router,
    inference.router,
)


def build_app(parts: GatewayParts) -> FastAPI:
    """Return the application; its lifespan starts and stops the gateway, which is `app.state.gateway`."""
    gateway = Gateway(parts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with gateway:
            yield

    app = FastAPI(title="Glowplug", version=parts.policy.version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.gateway = gateway
    problems.install(app)
    access, operator = parts.policy.access, parts.policy.owner
    app.add_middleware(Guard, access=access, signer=LinkSigner.of(access, parts.clock), operator=operator)
    app.add_middleware(problems.Shield)
    # The workers' routes come first: they are asked most often.
    plain = [*link.link_routes(gateway), *notices.notice_routes(gateway), *metrics.metrics_routes(parts.metrics)]
    readiness = parts.probes(parts.board, gateway.registry.board, gateway.upkeep)
    app.router.routes[:0] = [*plain, *readiness.served]
    app.router.routes.extend([*conversation.conversation_routes(gateway), *job_socket.job_socket_routes(gateway)])
    for router in _ROUTERS:
        app.include_router(router(gateway))
    documents.install(app, gateway.catalog.tasks, readiness.described)
    return app
