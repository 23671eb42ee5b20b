"""Routes of deliveries: how far others were told of a job, and telling them again."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import DeliveryList, DeliveryView, delivery_view
from glowplug.gateway.service import Gateway


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["jobs"])
    deliveries = gateway.deliveries

    @routes.get("/v1/jobs/{job_id}/deliveries", **described(None, {200: DeliveryList}))
    async def listing(job_id: str) -> Response:
        """Say how far each door was told of a job, what failed, and when it is tried again."""
        found = await deliveries.of_job(job_id)
        return bodies.answer(DeliveryList([delivery_view(delivery) for delivery in found]))

    @routes.post("/v1/jobs/{job_id}/deliveries/{door}/retry", status_code=202, **described(None, {202: DeliveryView}))
    async def retry(job_id: str, door: str) -> Response:
        """Tell a door at once what it has not taken, also after it was given up; else the last event again."""
        return bodies.answer(delivery_view(await deliveries.retry(job_id, door)), 202)

    return routes
