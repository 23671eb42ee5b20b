"""Queueing several requests, all or none, with single documents that are written one at a time.

One new job is one insert, and the unique index on owner and key decides who was first. Several go like this:

1. *Drafts.* Each new job is inserted with its whole document folded under `draft`, so that no query finds it, but with
   its owner and key in place: the unique index reserves the key. In the order of the keys, so that of two submissions
   with common keys one meets the other at the first of them, and no two wait for each other.
2. *Commit.* One document in `submissions`, named after the submission: the moment from which all of it is queued.
3. *Spread.* One update unfolds every draft; whoever does it twice changes nothing. Then the commit is taken away.

Whoever finds drafts later ends what was begun: spreads them if there is a commit. If there is none and the drafts are
older than an honest writer takes, it writes an *abort* under the same name, which the late commit then runs into, and
deletes them.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError

from glowplug.errors import Conflict
from glowplug.job import Change, Job, JobRequest, submitted
from glowplug.store import Submission
from glowplug.stores.moments import micros, moment
from glowplug.stores.mongo.changes import Changes, back_off, only_duplicates, told_of
from glowplug.stores.mongo.documents import Document, Record, document_of, record_of
from glowplug.stores.mongo.lines import Lines
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.rules import resubmitted

TRIES = 200
KEYS_AT_ONCE = 1_000
HEALED_AT_ONCE = 10_000
GRACE = timedelta(seconds=10)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of requests: their answers, and what is to be written for those that are new."""

    submissions: tuple[Submission, ...]
    fresh: tuple[Change, ...]


class Submissions:
    """Queues requests."""

    def __init__(self, rooms: Rooms, changes: Changes) -> None:
        self._rooms = rooms
        self._changes = changes

    async def submit(self, requests: Sequence[JobRequest], now: datetime) -> list[Submission]:
        """Queue requests that have been checked, or none of them.

        Raises:
            IdempotencyMismatch: a key is there with another request.
            Conflict: somebody else has been submitting one of the keys all the time.
        """
        for turn in range(TRIES):
            known = await self._known(requests, now)
            plan = None if known is None else planned(requests, known, now)
            if plan is not None and not plan.fresh:
                return list(plan.submissions)
            records = [] if plan is None else await self._placed(plan.fresh, now)
            if plan is not None and await self._write(records, now):
                await self._changes.move(records)
                return _answers(plan, records)
            await back_off(turn)
        raise Conflict("a request with the same key is being submitted by somebody else; ask again in some seconds")

    async def _known(self, requests: Iterable[JobRequest], now: datetime) -> dict[Key, Job] | None:
        """Return the jobs that have one of the keys, None while one of them is only a draft of somebody's."""
        keys: dict[str, list[str]] = {}
        for request in requests:
            if request.key is not None:
                keys.setdefault(request.owner, []).append(request.key)
        documents = [one for owner, wanted in keys.items() for one in await self._with_keys(owner, wanted)]
        drafts = [document for document in documents if "submission" in document]
        await self._heal(drafts, now)
        if drafts:
            return None
        return {(job.owner, job.key): job for job in (record_of(one).job for one in documents) if job.key is not None}

    async def _with_keys(self, owner: str, keys: Sequence[str]) -> list[Document]:
        found: list[Document] = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            where = {"owner": owner, "key": {"$in": keys[start : start + KEYS_AT_ONCE]}}
            found += await self._rooms.jobs.find(where).to_list()
        return found

    async def _placed(self, fresh: Iterable[Change], now: datetime) -> list[Record]:
        lines = Lines(self._rooms, now)
        records = []
        for job, events in fresh:
            record = Record(await lines.placed(job), news=events)
            records.append(told_of(record, events))
        return records

    async def _write(self, records: Sequence[Record], now: datetime) -> bool:
        """Write new jobs; say whether it was done, or somebody else has one of the keys."""
        if len(records) > 1:
            return await self._write_all(records, now)
        try:
            await self._rooms.jobs.insert_one(document_of(records[0]))
        except DuplicateKeyError:
            return False
        return True

    async def _write_all(self, records: Sequence[Record], now: datetime) -> bool:
        submission = secrets.token_hex(12)
        drafts = [_draft(record, submission, now) for record in records]
        drafts.sort(key=lambda draft: ("key" not in draft, draft.get("owner", ""), draft.get("key", "")))
        try:
            await self._rooms.jobs.insert_many(drafts)
            await self._rooms.submissions.insert_one({"_id": submission, "committed": micros(now)})
        except (BulkWriteError, DuplicateKeyError) as error:
            if isinstance(error, BulkWriteError) and not only_duplicates(error):
                raise
            await self._drop(submission)
            return False
        try:
            await self._spread(submission)
        except AutoReconnect:
            # The driver does not repeat an update of many by itself; this one may be repeated.
            await self._spread(submission)
        return True

    async def _spread(self, submission: str) -> None:
        await self._rooms.jobs.update_many({"submission": submission}, [{"$replaceWith": "$draft"}])
        await self._rooms.submissions.delete_one({"_id": submission})

    async def _drop(self, submission: str) -> None:
        await self._rooms.jobs.delete_many({"submission": submission})

    async def heal(self, now: datetime) -> None:
        """End what gateways that are gone have begun."""
        drafts = self._rooms.jobs.find({"submission": {"$exists": True}}, {"submission": 1, "drafted_at": 1})
        await self._heal([draft async for draft in drafts.limit(HEALED_AT_ONCE)], now)
        committed = self._rooms.submissions.find({"committed": {"$exists": True}})
        for submission in [found["_id"] async for found in committed]:
            await self._spread(submission)

    async def _heal(self, drafts: Collection[Mapping[str, object]], now: datetime) -> None:
        begun = {str(draft["submission"]): moment(int(str(draft["drafted_at"]))) for draft in drafts}
        for submission, drafted_at in begun.items():
            await self._end(submission, now - drafted_at > GRACE)

    async def _end(self, submission: str, is_old: bool) -> None:
        found = await self._rooms.submissions.find_one({"_id": submission})
        if found is None and is_old:
            found = await self._abort(submission)
        if found is not None and "committed" in found:
            await self._spread(submission)
        elif found is not None:
            await self._drop(submission)

    async def _abort(self, submission: str) -> Document | None:
        undecided = {"_id": submission, "committed": {"$exists": False}}
        abort = {"$currentDate": {"aborted_at": True}}
        # That the commit came after all is no error: what is there now decides.
        with suppress(DuplicateKeyError):
            await self._rooms.submissions.update_one(undecided, abort, upsert=True)
        return await self._rooms.submissions.find_one({"_id": submission})


def planned(requests: Iterable[JobRequest], known: Mapping[Key, Job], now: datetime) -> Plan:
    """Decide what becomes of requests. Raises `IdempotencyMismatch`."""
    known = dict(known)
    fresh: list[Change] = []
    submissions: list[Submission] = []
    for request in requests:
        job = None if request.key is None else known.get((request.owner, request.key))
        if job is not None:
            submissions.append(resubmitted(job, request))
            continue
        change = submitted(request, now)
        fresh.append(change)
        submissions.append(Submission(change[0], created=True))
        if request.key is not None:
            known[request.owner, request.key] = change[0]
    return Plan(tuple(submissions), tuple(fresh))


def _answers(plan: Plan, records: Iterable[Record]) -> list[Submission]:
    placed = {record.job.id: record.job for record in records}
    return [replace(one, job=placed.get(one.job.id, one.job)) for one in plan.submissions]


def _draft(record: Record, submission: str, now: datetime) -> Document:
    document = document_of(record)
    reserved = {name: document[name] for name in ("owner", "key") if "key" in document}
    return {
        "_id": record.job.id,
        "submission": submission,
        "drafted_at": micros(now),
        **reserved,
        "draft": document,
    }
