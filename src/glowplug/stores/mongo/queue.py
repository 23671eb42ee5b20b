"""Work in its order: by priority, high first, then turn, then id; and who has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from glowplug.job import Job, claimed
from glowplug.store import Depth, Hold, Want
from glowplug.stores.moments import micros
from glowplug.stores.mongo.changes import Changes, Work, back_off, together
from glowplug.stores.mongo.documents import Document, Record, record_of
from glowplug.stores.mongo.lines import Lines
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.rules import line_order

ROUNDS = 200
_ORDER = [("priority", -1), ("turn", 1), ("_id", 1)]
# Bounds and values, where to ask for presence alone would have the server read the document too.
_HAS_TURN = {"$gte": 0}
_IS_LIVE = {"$in": ["queued", "running"]}


class Queue:
    """Hands out what is due, and says how much there is."""

    def __init__(self, rooms: Rooms, changes: Changes) -> None:
        self._rooms = rooms
        self._changes = changes
        # What other claims of this process are about to write: it is passed over, not fought for.
        self._in_hand: set[str] = set()

    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, only: Collection[str] | None, now: datetime
    ) -> list[Job]:
        """Hand due jobs to a worker, want after want."""
        if only is None:
            await Lines(self._rooms, now).line_up({task for want in wants for task in want.tasks})
        named = None if only is None else [job_id for job_id in only if job_id.isascii()]
        works: list[Work] = []
        for want in wants:
            works += await self._grant(worker_id, want, lease, named, now)
        await self._changes.settle_news(works)
        return [work.after.job for work in works if work.after is not None]

    async def _grant(
        self, worker_id: str, want: Want, lease: timedelta, only: Sequence[str] | None, now: datetime
    ) -> list[Work]:
        granted: list[Work] = []
        lost: set[str] = set()
        for turn in range(ROUNDS):
            missing = want.slots - len(granted)
            due = await self._due(want.tasks, missing, only, lost, now) if missing > 0 else []
            if missing <= 0 or not (due or lost):
                break
            free = [record for record in due if record.job.id not in self._in_hand]
            taken = await self._take(free, worker_id, lease, now)
            granted += taken
            # Who was faster once is likely to be again, so what comes behind is tried first.
            lost = {record.job.id for record in free} - {
                work.before.job.id for work in taken if work.before is not None
            }
            if not taken:
                await back_off(turn)
        return sorted(granted, key=_place)

    async def _due(
        self, tasks: Collection[str], limit: int, only: Sequence[str] | None, lost: Collection[str], now: datetime
    ) -> list[Record]:
        where = _waiting(tasks, now) if only is None else _due_by_itself(tasks, now)
        passed_over = self._in_hand.union(lost)
        if only is not None or passed_over:
            where["_id"] = ({"$in": only} if only is not None else {}) | {"$nin": list(passed_over)}
        found = self._rooms.jobs.find(where).sort(_ORDER).limit(limit)
        return [record_of(document) async for document in found]

    async def _take(self, records: Sequence[Record], worker_id: str, lease: timedelta, now: datetime) -> list[Work]:
        mine = {record.job.id for record in records}
        self._in_hand |= mine
        try:
            return [work for work in await together(self._try(one, worker_id, lease, now) for one in records) if work]
        finally:
            self._in_hand -= mine

    async def _try(self, record: Record, worker_id: str, lease: timedelta, now: datetime) -> Work | None:
        work = Work(record, Lines(self._rooms, now))
        await work.take(claimed(record.job, worker_id, now, lease))
        return work if await self._changes.write(work) else None

    async def undispatched(self, tasks: Collection[str], limit: int, now: datetime) -> list[Job]:
        """Return the due jobs of `tasks` that come first of those whose hint no broker has."""
        await Lines(self._rooms, now).line_up(tasks)
        where = _waiting(tasks, now) | {"dispatched_at": None}
        found = self._rooms.jobs.find(where).sort(_ORDER).limit(limit) if limit > 0 else None
        return [] if found is None else [record_of(document).job async for document in found]

    async def dispatched(self, tasks: Collection[str]) -> int:
        """Count the queued jobs of `tasks` whose hint a broker has."""
        where = {"task": {"$in": list(tasks)}, "state": "queued", "dispatched_at": {"$gt": 0}}
        return await self._rooms.jobs.count_documents(where)

    async def mark_dispatched(self, job_ids: Collection[str], now: datetime) -> None:
        """Say that a broker has taken the hints of these jobs."""
        where = {"_id": {"$in": [job_id for job_id in job_ids if job_id.isascii()]}, "state": "queued"}
        await self._rooms.jobs.update_many(where, {"$set": {"dispatched_at": micros(now)}, "$inc": {"rev": 1}})

    async def mark_lost(self, tasks: Collection[str], dispatched_before: datetime) -> int:
        """Take the mark from queued jobs dispatched before then."""
        where = {"task": {"$in": list(tasks)}, "state": "queued", "dispatched_at": {"$lt": micros(dispatched_before)}}
        update = {"$unset": {"dispatched_at": True}, "$inc": {"rev": 1}}
        return (await self._rooms.jobs.update_many(where, update)).modified_count

    async def lapsed(self, limit: int, now: datetime) -> list[str]:
        """Return queued jobs whose time to start is over, the oldest first."""
        found = self._rooms.jobs.find({"lapses_at": {"$lte": micros(now)}}, {"_id": 1})
        return [document["_id"] async for document in found.sort([("lapses_at", 1), ("_id", 1)]).limit(limit)]

    async def position(self, job_id: str, limit: int, now: datetime) -> int | None:
        """Count the due jobs ahead of a queued one, up to `limit`."""
        record = (await self._changes.load([job_id])).get(job_id)
        if record is None or record.job.state != "queued":
            return None
        if await Lines(self._rooms, now).line_up([record.job.task]):
            record = (await self._changes.load([job_id])).get(job_id)
        if record is None or record.job.state != "queued":
            return None
        ahead = 0
        for where in _ahead_of(record.job):
            if ahead < limit:
                ahead += await self._rooms.jobs.count_documents(where, limit=limit - ahead)
        return ahead

    async def next_due_seconds(self, tasks: Collection[str], now: datetime) -> float | None:
        """Return the seconds until the first queued job of `tasks` is due, None if there is none."""
        if await self._rooms.jobs.find_one(_waiting(tasks, now), {"_id": 1}):
            return 0.0
        times = []
        for task in set(tasks):
            where = {"task": task, "later_at": {"$exists": True}, **_may_start(now)}
            first = await self._rooms.jobs.find_one(where, {"later_at": 1}, sort=[("later_at", 1)])
            times += [] if first is None else [int(first["later_at"])]
        return max(0.0, (min(times) - micros(now)) / 1_000_000) if times else None

    async def depths(self, now: datetime) -> dict[str, Depth]:
        """Count what waits and what runs, by task."""
        at = micros(now)
        count = {
            "_id": {"task": "$task", "live": "$live"},
            "count": {"$sum": 1},
            "due": {"$sum": {"$cond": [{"$lte": ["$run_at", at]}, 1, 0]}},
            "oldest": {"$min": "$run_at"},
            "dispatched": {"$sum": {"$cond": [{"$gt": ["$dispatched_at", None]}, 1, 0]}},
        }
        pipeline: list[Document] = [{"$match": {"live": _IS_LIVE}}, {"$group": count}]
        groups = await self._rooms.jobs.aggregate(pipeline)
        found: dict[str, dict[str, Any]] = {}
        async for group in groups:
            facts = found.setdefault(group["_id"]["task"], {})
            facts |= {"running": group["count"]} if group["_id"]["live"] == "running" else _waits(group, at)
        return {task: Depth(**facts) for task, facts in found.items()}

    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker."""
        found = self._rooms.jobs.find({"worker_id": worker_id}, {"token": 1}).sort("_id", 1)
        return [Hold(document["_id"], int(document["token"])) async for document in found]

    async def expired(self, limit: int, now: datetime) -> list[Hold]:
        """List the holds whose lease has run out, the oldest first."""
        found = self._rooms.jobs.find({"lease_until": {"$lte": micros(now)}}, {"token": 1})
        ordered = found.sort([("lease_until", 1), ("_id", 1)]).limit(limit)
        return [Hold(document["_id"], int(document["token"])) async for document in ordered]


def _waiting(tasks: Collection[str], now: datetime) -> Document:
    return {"task": {"$in": sorted(set(tasks))}, "turn": _HAS_TURN, "state": "queued", **_may_start(now)}


def _due_by_itself(tasks: Collection[str], now: datetime) -> Document:
    """Return the filter of due jobs, those among them that have no turn yet."""
    is_due = {"$or": [{"turn": _HAS_TURN}, {"run_at": {"$lte": micros(now)}}]}
    return {"task": {"$in": sorted(set(tasks))}, "state": "queued", **is_due, **_may_start(now)}


def _may_start(now: datetime) -> Document:
    return {"expires_at": {"$not": {"$lte": micros(now)}}}


def _ahead_of(job: Job) -> list[Document]:
    of_task = {"task": job.task, "turn": _HAS_TURN}
    above = of_task | {"priority": {"$gt": job.priority}}
    level = of_task | {"priority": job.priority}
    if job.turn is None:
        return [above, level]
    before = level | {"turn": _HAS_TURN | {"$lt": job.turn}}
    return [above, before, level | {"turn": _HAS_TURN | {"$eq": job.turn}, "_id": {"$lt": job.id}}]


def _waits(group: Mapping[str, Any], at: int) -> dict[str, Any]:
    age = max(0.0, (at - group["oldest"]) / 1_000_000) if group["due"] else 0.0
    return {
        "queued": group["count"],
        "due": group["due"],
        "oldest_seconds": age,
        "dispatched": group["dispatched"],
    }


def _place(work: Work) -> tuple[int, bool, int, str]:
    assert work.before is not None
    return line_order(work.before.job)
