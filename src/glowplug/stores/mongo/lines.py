"""The ends of the lines that jobs stand in, and the jobs that have become due and get their place.

Nothing is locked between the look and the write: of two jobs placed at the same moment both may get one turn, and
their ids decide.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from pymongo import UpdateOne

from glowplug.job import Job, lined_up
from glowplug.stores.moments import micros
from glowplug.stores.mongo.documents import Record, record_of, update_of
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.rules import waits_for_its_turn

LINED_UP_AT_ONCE = 1_000
Line = tuple[str, int]


class Lines:
    """Gives due jobs their places in line, one after the other."""

    def __init__(self, rooms: Rooms, now: datetime) -> None:
        self._rooms = rooms
        self._now = now
        self._heads: dict[Line, int | None] = {}
        self._lasts: dict[tuple[Line, str], int | None] = {}

    async def placed(self, job: Job) -> Job:
        """Give a job its place if it is due and has none; the next one finds it there."""
        if not waits_for_its_turn(job, self._now):
            return job
        line = (job.task, job.priority)
        owned = (line, job.owner)
        if line not in self._heads:
            self._heads[line] = await self._turn(line, 1)
        if owned not in self._lasts:
            self._lasts[owned] = await self._turn(line, -1, owner=job.owner)
        head, last = self._heads[line], self._lasts[owned]
        job = lined_up(job, head, last)
        if job.turn is not None:
            self._heads[line] = job.turn if head is None else min(head, job.turn)
            self._lasts[owned] = job.turn if last is None else max(last, job.turn)
        return job

    async def _turn(self, line: Line, direction: int, **owner: str) -> int | None:
        task, priority = line
        where = {"task": task, "priority": priority, "turn": {"$exists": True}, **owner}
        sort = [("turn", direction)]
        end = await self._rooms.jobs.find_one(where, {"turn": 1}, sort=sort)
        return None if end is None else int(end["turn"])

    async def line_up(self, tasks: Collection[str]) -> int:
        """Give jobs of `tasks` that have become due their turn, the longest due first; return how many had none."""
        where = {"task": {"$in": list(tasks)}, "later_at": {"$lte": micros(self._now)}}
        overdue = self._rooms.jobs.find(where).sort([("later_at", 1), ("_id", 1)]).limit(LINED_UP_AT_ONCE)
        records = [record_of(document) async for document in overdue]
        if records:
            # One that somebody else wrote meanwhile has its place by that, or gets it the next time.
            await self._rooms.jobs.bulk_write([await self._lining_up(record) for record in records], ordered=False)
        return len(records)

    async def _lining_up(self, before: Record) -> UpdateOne:
        after = replace(before, job=await self.placed(before.job))
        return UpdateOne({"_id": before.job.id, "rev": before.rev}, update_of(before, after))
