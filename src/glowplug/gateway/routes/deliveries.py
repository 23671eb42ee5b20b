"""Routes of deliveries: how far others were told of a job, and telling them again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import DeliveryList, DeliveryView, delivery_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import job_for, subject_of


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["jobs"])
    deliveries, store = gateway.deliveries, gateway.parts.store

    @routes.get("/v1/jobs/{job_id}/deliveries", **described(None, {200: DeliveryList}))
    async def listing(job_id: str, request: Request) -> Response:
        """Say how far each door was told of a job, what failed, and when it is tried again."""
        await job_for(store, subject_of(request), job_id)
        found = await deliveries.of_job(job_id)
        return bodies.answer(DeliveryList([delivery_view(delivery) for delivery in found]))

    @routes.post("/v1/jobs/{job_id}/deliveries/{door}/retry", status_code=202, **described(None, {202: DeliveryView}))
    async def retry(job_id: str, door: str, request: Request) -> Response:
        """Tell a door at once what it has not taken, also after it was given up; else the last event again."""
        await job_for(store, subject_of(request), job_id)
        return bodies.answer(delivery_view(await deliveries.retry(job_id, door)), 202)

    return routes
