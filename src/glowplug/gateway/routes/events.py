"""Routes that follow a job: its events as a stream, its log as text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from fastapi import APIRouter, Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import Response, StreamingResponse

from glowplug.errors import InvalidInput
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import event_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import job_for, subject_of
from glowplug.job import Job

LOG_PAGE = 500
LONGEST_SEQ = 18
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_encoder = msgspec.json.Encoder()


def router(gateway: Gateway) -> APIRouter:
    """Return the routes that follow a job."""
    routes = APIRouter(tags=["jobs"])
    store = gateway.parts.store

    @routes.get("/v1/jobs/{job_id}/events", **described(None, {200: None, 204: None}, query=("after",)))
    async def events(job_id: str, request: Request) -> Response:
        """Stream the job's events as SSE up to the terminal one, from after `Last-Event-ID` or `after`.

        204 when the job is done and nothing is left to send, which stops a browser from reconnecting. With
        `Accept: application/json` the answer is a page of what there is so far, and waits for nothing.
        """
        job = await job_for(store, subject_of(request), job_id)
        after = seq_asked(request.headers.get("last-event-id") or request.query_params.get("after"))
        if request.headers.get("accept", "").startswith("application/json"):
            page = await store.events(job_id, after=after)
            body = _encoder.encode({"events": [event_view(event) for event in page]})
            return Response(body, media_type="application/json")
        if job.done and after >= job.last_seq:
            return Response(status_code=204)
        return EventSourceResponse(_stream(gateway, job, after), headers=STREAM_HEADERS)

    @routes.get("/v1/jobs/{job_id}/logs", **described(None, {200: None}))
    async def logs(job_id: str, request: Request) -> Response:
        """Return what the job has printed so far, as text."""
        job = await job_for(store, subject_of(request), job_id)
        return StreamingResponse(_log_lines(gateway, job), media_type="text/plain; charset=utf-8")

    return routes


async def _stream(gateway: Gateway, job: Job, after: int) -> AsyncIterator[bytes]:
    async for event in gateway.feed.events(job.id, after=after):
        if event is None:
            yield KEEPALIVE_COMMENT
            continue
        data = _encoder.encode(event_view(event)).decode()
        yield format_sse_event(data_str=data, event=event.type, id=str(event.seq))


async def _log_lines(gateway: Gateway, job: Job) -> AsyncIterator[str]:
    after = 0
    while events := await gateway.parts.store.events(job.id, after=after, limit=LOG_PAGE):
        after = events[-1].seq
        yield "".join(f"{event.data.get('text', '')}\n" for event in events if event.type == "log")


def seq_asked(value: str | None) -> int:
    """Return the seq after which a caller wants events, 0 where none is said. Raises `InvalidInput`."""
    value = value or "0"
    if not value.isdecimal() or len(value) > LONGEST_SEQ:
        raise InvalidInput("Last-Event-ID and after take the seq of an event, a whole number")
    return int(value)
