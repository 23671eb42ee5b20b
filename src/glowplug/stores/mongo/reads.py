"""What only looks at jobs: single ones, pages of them, their events; and the end of what is old."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile

from glowplug.job import Job, JobEvent
from glowplug.store import JobFilter, JobPage
from glowplug.stores.moments import micros, moment
from glowplug.stores.mongo.documents import Document, event_of, record_of
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.rules import cursor_after, found, parse_cursor

# A bound that every number keeps: what has no time of creation is a draft or doomed, and no job.
_EVER = -(2**63)
_JOB_ALONE = {"news": 0, "told": 0}
_NEWEST = [("created_at", -1), ("_id", -1)]


class Reads:
    """Looks at jobs and their events, and deletes what is old."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def job(self, job_id: str) -> Job:
        """Return a job. Raises `NotFound`."""
        document = await self._document(job_id, _JOB_ALONE)
        return found(None if document is None else record_of(document).job, job_id)

    async def _document(self, job_id: str, fields: Mapping[str, int]) -> Document | None:
        if not job_id.isascii():
            return None
        return await self._rooms.jobs.find_one({"_id": job_id, "state": {"$exists": True}}, fields)

    async def page(self, where: JobFilter, cursor: str | None, limit: int) -> JobPage:
        """Return a page of jobs, newest first."""
        documents = self._rooms.jobs.find(_terms(where, cursor), _JOB_ALONE).sort(_NEWEST).limit(limit + 1)
        jobs = [record_of(document).job async for document in documents]
        more = len(jobs) > limit
        return JobPage(tuple(jobs[:limit]), cursor_after(jobs[limit - 1]) if more else None)

    async def events(self, job_id: str, after: int, limit: int) -> list[JobEvent]:
        """Return the events behind `after`.

        The document is read first: what has left it by then is in the collection already.
        """
        document = await self._document(job_id, {"news": 1})
        if document is None:
            return []
        start = max(after, 0)
        log = {entry["seq"]: entry for entry in document.get("news", ()) if entry["seq"] > start}
        stored = self._rooms.events.find({"job_id": job_id, "seq": {"$gt": start}}).sort("seq", 1).limit(limit)
        log |= {entry["seq"]: entry async for entry in stored}
        # Up to the first gap: an event may be on its way whose successor has arrived.
        whole = takewhile(log.__contains__, range(start + 1, start + 1 + limit))
        return [event_of(job_id, log[number]) for number in whole]

    async def nth_newest(self, owner: str, n: int, task: str | None) -> datetime | None:
        """Return when the owner's `n`-th newest job was made."""
        if n < 1:
            return None
        where = _terms(JobFilter(owner=owner, task=task), None)
        document = await self._rooms.jobs.find_one(where, {"created_at": 1}, sort=_NEWEST, skip=n - 1)
        return None if document is None else moment(int(document["created_at"]))

    async def clean(self, finished_before: datetime, limit: int) -> list[Job]:
        """Delete the jobs that ended first, with their events.

        They are doomed at once and by one update, in which a job that was sent again meanwhile is left out; from then
        on nothing finds them. What a crash leaves of that is deleted by the next one who cleans.
        """
        old = {"finished_at": {"$lt": micros(finished_before)}}
        documents = self._rooms.jobs.find(old, _JOB_ALONE).sort([("finished_at", 1), ("_id", 1)]).limit(limit)
        jobs = {document["_id"]: record_of(document).job async for document in documents}
        sweep = secrets.token_hex(12)
        if jobs:
            doomed = [{"$replaceWith": {"_id": "$_id", "doomed": sweep}}]
            await self._rooms.jobs.update_many({"_id": {"$in": list(jobs)}, **old}, doomed)
        gone = {
            document["_id"]: document["doomed"]
            async for document in self._rooms.jobs.find({"doomed": {"$exists": True}})
        }
        if gone:
            await self._rooms.events.delete_many({"job_id": {"$in": list(gone)}})
            await self._rooms.jobs.delete_many({"_id": {"$in": list(gone)}})
        return [job for job_id, job in jobs.items() if gone.get(job_id) == sweep]


def _terms(where: JobFilter, cursor: str | None) -> Document:
    created: dict[str, int] = {"$gte": _EVER}
    if where.created_after is not None:
        created["$gt"] = micros(where.created_after)
    if where.created_before is not None:
        created["$lt"] = micros(where.created_before)
    terms: Document = {"created_at": created}
    if where.states is not None:
        terms["state"] = {"$in": [state.value for state in where.states]}
    named = {"task": where.task, "owner": where.owner, "batch_id": where.batch_id, "key": where.key}
    terms |= {name: value for name, value in named.items() if value is not None}
    if cursor is not None:
        at, job_id = parse_cursor(cursor)
        created["$lte"] = micros(at)
        terms["$or"] = [{"created_at": {"$lt": micros(at)}}, {"_id": {"$lt": job_id}}]
    return terms
