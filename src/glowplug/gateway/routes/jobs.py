"""Routes of jobs: submit, look, list, cancel, retry, and follow."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.errors import InvalidInput
from glowplug.gateway import bodies
from glowplug.gateway.departure import while_present
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import JobList, JobView, Submit, job_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import job_for, subject_of
from glowplug.job import JobState
from glowplug.store import JobFilter

KEY_HEADER = "idempotency-key"
LISTED_BY = ("state", "task", "batch", "owner", "cursor", "limit")
ENVELOPE_BYTES = 64 * 1024
LONGEST_NUMBER = 9
_submit = msgspec.json.Decoder(Submit)


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(tags=["jobs"])
    jobs, ledger, store, limits = gateway.jobs, gateway.ledger, gateway.parts.store, gateway.policy.limits

    @routes.post("/v1/jobs", status_code=202, **described(Submit, {202: JobView, 200: JobView}))
    async def submit(request: Request) -> Response:
        """Queue a job. With `Prefer: wait=N` the answer waits up to N seconds for its end (200)."""
        hint = "; upload the data as an artifact and send its reference"
        body = await bodies.read(request, limits.input_bytes + ENVELOPE_BYTES, hint)
        wish = bodies.decode(_submit, body)
        wait = bodies.preferred_wait_seconds(request, limits.prefer_wait_seconds)
        # The input is part of the body: only a body beyond its limit is worth measuring again.
        if len(body) > limits.input_bytes:
            jobs.check_size(msgspec.json.encode(wish.input))
        job = (await jobs.submit([wish], subject=subject_of(request), key=request.headers.get(KEY_HEADER)))[0].job
        if wait > 0 and not job.done:
            job = await while_present(request, gateway.feed.done(job.id, timeout_seconds=wait)) or job
        view = await jobs.view(job)
        return bodies.answer(view, 200 if job.done and wait else 202, {"Location": view.urls.get})

    @routes.get("/v1/jobs", **described(None, {200: JobList}, query=LISTED_BY))
    async def listing(request: Request) -> Response:
        """List jobs, newest first; `state` may be given several times or with commas. Users see their own alone."""
        query = request.query_params
        page = await store.jobs(_filter(request), cursor=query.get("cursor"), limit=_limit(request, limits.page_jobs))
        return bodies.answer(JobList([job_view(job, jobs.links) for job in page.jobs], page.next_cursor))

    @routes.get("/v1/jobs/{job_id}", **described(None, {200: JobView}))
    async def get(job_id: str, request: Request) -> Response:
        """Return a job."""
        return bodies.answer(await jobs.view(await job_for(store, subject_of(request), job_id)))

    @routes.post("/v1/jobs/{job_id}/cancel", status_code=202, **described(None, {202: JobView}))
    async def cancel(job_id: str, request: Request) -> Response:
        """Ask a job to stop: a queued one is canceled at once, a running one as soon as its worker hears of it."""
        await job_for(store, subject_of(request), job_id)
        return bodies.answer(await jobs.view(await ledger.cancel(job_id)), 202)

    @routes.post("/v1/jobs/{job_id}/retry", status_code=202, **described(None, {202: JobView}))
    async def retry(job_id: str, request: Request) -> Response:
        """Queue a failed or canceled job again."""
        await job_for(store, subject_of(request), job_id)
        return bodies.answer(await jobs.view(await ledger.retry(job_id)), 202)

    return routes


def _filter(request: Request) -> JobFilter:
    query = request.query_params
    words = [word for value in query.getlist("state") for word in value.split(",") if word]
    return JobFilter(
        states=tuple(_state(word) for word in words) or None,
        task=query.get("task"),
        owner=subject_of(request).owner_asked(query.get("owner")),
        batch_id=query.get("batch"),
    )


def _state(word: str) -> JobState:
    try:
        return JobState(word)
    except ValueError as error:
        known = ", ".join(JobState)
        raise InvalidInput(f"no job state {word[:40]!r}; there are {known}", fields=[{"path": "state"}]) from error


def _limit(request: Request, most: int) -> int:
    value: Any = request.query_params.get("limit", "50")
    if not value.isdecimal() or len(value) > LONGEST_NUMBER or not 0 < int(value) <= most:
        raise InvalidInput(f"limit takes a number from 1 to {most}", fields=[{"path": "limit"}])
    return int(value)
