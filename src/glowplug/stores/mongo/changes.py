"""Changing jobs: load the document, apply transitions, write it under its guard, and again if another was faster."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from glowplug.errors import Unreachable
from glowplug.job import Change, Job, JobEvent
from glowplug.store import Delivery
from glowplug.stores.mongo.documents import Record, Told, event_document, record_of, update_of, with_told
from glowplug.stores.mongo.lines import Lines
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.rules import doors_to_tell, to_save, woken

TRIES = 60
DUPLICATE = 11000
_MOVED_KEPT = 20_000

A = TypeVar("A")
T = TypeVar("T")


class Work:
    """One job's document while it is changed: as it was read, and as it is to be."""

    def __init__(self, before: Record | None, lines: Lines) -> None:
        self.before = before
        self.after = before
        self.events: list[JobEvent] = []
        self._lines = lines

    @property
    def job(self) -> Job | None:
        """Return the job as it is to be, None if there is none."""
        return None if self.after is None else self.after.job

    async def take(self, change: Change) -> Job:
        """Take a transition's result: the job gets its place in line, and the doors that follow become due."""
        assert self.after is not None
        job, events = change
        job = await self._lines.placed(job)
        self.events += events
        self.after = told_of(replace(self.after, job=job), events)
        return job

    def tell(self, delivery: Delivery, now: datetime) -> None:
        """Take how far a door was told."""
        assert self.after is not None
        kept = next((one for one in self.after.told if one.delivery.door == delivery.door), Told(delivery))
        delivery = to_save(delivery, (), (), now)
        if kept.wanted > delivery.seq:
            delivery = woken(delivery, now)
        self.after = with_told(self.after, Told(delivery, kept.wanted))


Step = Callable[[Work, T], Awaitable[A]]


class Changes:
    """Writes jobs, and brings their events to where they stay."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._moved: OrderedDict[str, int] = OrderedDict()

    async def load(self, job_ids: Iterable[str]) -> dict[str, Record]:
        """Read the documents of jobs; those that are absent, or are no jobs yet or any more, are left out."""
        wanted = [job_id for job_id in set(job_ids) if job_id.isascii()]
        found = self._rooms.jobs.find({"_id": {"$in": wanted}, "state": {"$exists": True}})
        return {document["_id"]: record_of(document) async for document in found}

    async def each(self, items: Sequence[T], id_of: Callable[[T], str], step: Step[T, A], now: datetime) -> list[A]:
        """Take `step` with every item on its job's document; items of one job follow each other, jobs do not."""
        groups: dict[str, list[int]] = {}
        for number, item in enumerate(items):
            groups.setdefault(id_of(item), []).append(number)
        loaded = await self.load(groups)
        told: list[Work] = []

        async def one(job_id: str, numbers: list[int]) -> list[tuple[int, A]]:
            mine = [items[number] for number in numbers]
            work, answers = await self._until_written(job_id, loaded.get(job_id), mine, step, now)
            told.append(work)
            return list(zip(numbers, answers, strict=True))

        groups_done = await together(one(job_id, numbers) for job_id, numbers in groups.items())
        await self.settle_news(told)
        answers = dict(pair for pairs in groups_done for pair in pairs)
        return [answers[number] for number in range(len(items))]

    async def _until_written(
        self, job_id: str, record: Record | None, items: Sequence[T], step: Step[T, A], now: datetime
    ) -> tuple[Work, list[A]]:
        for turn in range(TRIES):
            work = Work(record, Lines(self._rooms, now))
            answers = [await step(work, item) for item in items]
            if await self.write(work):
                return work, answers
            await back_off(turn)
            record = (await self.load([job_id])).get(job_id)
        raise Unreachable(f"job {job_id} is being written by too many at once; try again")

    async def write(self, work: Work) -> bool:
        """Write a document if nobody else has since it was read; say whether that is so."""
        before, after = work.before, work.after
        if before is None or after is None or after is before:
            return True
        if work.events:
            moved = self._moved.get(before.job.id, 0)
            left = (event for event in before.news if event.seq > moved)
            work.after = after = replace(after, news=(*left, *work.events))
        guard = {"_id": before.job.id, "rev": before.rev}
        return (await self._rooms.jobs.update_one(guard, update_of(before, after))).matched_count == 1

    async def settle_news(self, works: Iterable[Work]) -> None:
        """Bring the events of what was written into their collection."""
        await self.move([work.after for work in works if work.events and work.after is not None])

    async def move(self, records: Collection[Record]) -> None:
        """Copy events from the jobs' documents into their collection; what is there already is no mistake.

        The copies in the documents go with the next write, or at once if none is to be expected.
        """
        events = [event_document(event) for record in records for event in record.news]
        if not events:
            return
        try:
            await self._rooms.events.insert_many(events, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
        for record in records:
            self._note_moved(record)
        last = [record for record in records if record.job.done]
        if last:
            await self._rooms.jobs.bulk_write([_without_news(record) for record in last], ordered=False)

    def _note_moved(self, record: Record) -> None:
        self._moved[record.job.id] = record.job.last_seq
        self._moved.move_to_end(record.job.id)
        if len(self._moved) > _MOVED_KEPT:
            self._moved.popitem(last=False)


def told_of(record: Record, events: Sequence[JobEvent]) -> Record:
    """Make the deliveries due whose followers want one of these events."""
    for door in doors_to_tell(record.job.followers, events):
        fresh = Told(Delivery(job_id=record.job.id, door=door))
        kept = next((one for one in record.told if one.delivery.door == door), fresh)
        wanted = max(event.seq for event in events if doors_to_tell(_of_door(record.job, door), [event]))
        record = with_told(record, Told(woken(kept.delivery, events[0].at), wanted))
    return record


def _of_door(job: Job, door: str) -> list[Any]:
    return [follower for follower in job.followers if follower.door == door]


def _without_news(record: Record) -> UpdateOne:
    old = {"news": {"seq": {"$lte": record.news[-1].seq}}}
    return UpdateOne({"_id": record.job.id}, {"$pull": old})


def only_duplicates(error: BulkWriteError) -> bool:
    """Say whether all that went wrong is that something was there already."""
    details = error.details or {}
    return not details.get("writeConcernErrors") and all(one["code"] == DUPLICATE for one in details["writeErrors"])


async def together(work: Iterable[Coroutine[Any, Any, A]]) -> list[A]:
    """Do things at the same time; the first error is raised when all have ended."""
    done = await asyncio.gather(*work, return_exceptions=True)
    answers: list[A] = []
    for answer in done:
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers


async def back_off(turn: int) -> None:
    """Let the one who was faster finish. The wait is for the server, so no clock of ours counts it."""
    await asyncio.sleep(random.uniform(0, min(0.05, 0.001 * 2**turn)))  # noqa: S311 - nothing secret
