"""Routes of batches: many jobs in one transaction."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.errors import InvalidInput, NotFound, TooLarge
from glowplug.gateway import bodies
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import BatchView, SubmitBatch, job_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import subject_of
from glowplug.job import Job, new_job_id
from glowplug.store import JobFilter

_batch = msgspec.json.Decoder(SubmitBatch)


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["jobs"])
    jobs, limits, clock = gateway.jobs, gateway.policy.limits, gateway.parts.clock

    @routes.post("/v1/batches", status_code=202, **described(SubmitBatch, {202: BatchView}))
    async def submit(request: Request) -> Response:
        """Queue all the jobs or none; the answer has them in the order in which they were sent."""
        wishes = bodies.decode(_batch, await bodies.read(request, limits.batch_bytes)).jobs
        if not wishes:
            raise InvalidInput("a batch needs at least one job", fields=[{"path": "jobs"}])
        if len(wishes) > limits.batch_jobs:
            raise TooLarge(f"a batch takes at most {limits.batch_jobs} jobs", limit_jobs=limits.batch_jobs)
        for number, wish in enumerate(wishes):
            jobs.check_size(msgspec.json.encode(wish.input), f"jobs.{number}: ")
        key, batch_id = request.headers.get("idempotency-key"), f"b{new_job_id(clock.now())}"
        made = await jobs.submit(wishes, subject=subject_of(request), key=key, batch_id=batch_id)
        return bodies.answer(_view([submission.job for submission in made]), 202)

    @routes.get("/v1/batches/{batch_id}", **described(None, {200: BatchView}))
    async def get(batch_id: str, request: Request) -> Response:
        """Return a batch, its jobs oldest first."""
        where = JobFilter(batch_id=batch_id, owner=subject_of(request).owner_asked(None))
        page = await gateway.parts.store.jobs(where, limit=limits.batch_jobs)
        if not page.jobs:
            raise NotFound(f"no batch {batch_id[:80]!r}")
        return bodies.answer(_view(list(reversed(page.jobs))))

    def _view(found: list[Job]) -> BatchView:
        done = all(job.done for job in found)
        return BatchView(found[0].batch_id or "", done, [job_view(job, jobs.links) for job in found])

    return routes
