"""Reading the queue in its order: by priority, high first, then turn, then id.

Jobs that are due stand in one index in that order, and those for later in another one by their time: a million jobs
that wait for tomorrow cost nothing today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, or_, select, tuple_

from glowplug.job import Job
from glowplug.store import Depth
from glowplug.stores.moments import micros
from glowplug.stores.rows import job_of
from glowplug.stores.rules import line_order
from glowplug.stores.statements import rows_by_id
from glowplug.stores.tables import HAS_EXPIRY, IS_DISPATCHED, IS_FOR_LATER, IS_LEASED, IS_LINED_UP, IS_QUEUED, jobs

_OF_TASK = jobs.c.task == bindparam("task")
_IS_DUE = jobs.c.run_at <= bindparam("now")
_MAY_START = or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > bindparam("now"))
_NEXT = (
    select(jobs)
    .where(IS_LINED_UP, _OF_TASK, _MAY_START)
    .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
    .limit(bindparam("limit"))
)
_DUE = _NEXT.with_for_update(skip_locked=True)
_UNDISPATCHED = _NEXT.where(jobs.c.dispatched_at.is_(None))
# Not skipped but waited for: who asks by name must learn what became of the job.
_CHOSEN = (
    select(jobs)
    .where(IS_QUEUED, or_(jobs.c.turn.is_not(None), _IS_DUE), _MAY_START)
    .order_by(jobs.c.id)
    .with_for_update()
)
_IS_OVERDUE = and_(IS_FOR_LATER, _OF_TASK, _IS_DUE)
_OVERDUE = (
    select(jobs)
    .where(_IS_OVERDUE)
    .order_by(jobs.c.run_at, jobs.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_ANY_OVERDUE = select(jobs.c.id).where(_IS_OVERDUE).limit(1)
_EXPIRED = (
    select(jobs)
    .where(HAS_EXPIRY, jobs.c.expires_at <= bindparam("now"))
    .order_by(jobs.c.expires_at, jobs.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_PLACE = select(jobs.c.task, jobs.c.priority, jobs.c.turn).where(IS_QUEUED, jobs.c.id == bindparam("job_id"))
_OF_LINE = and_(IS_LINED_UP, _OF_TASK)
_IS_AHEAD = tuple_(jobs.c.turn, jobs.c.id) < tuple_(bindparam("turn"), bindparam("job_id"))
_FIRST = select(jobs.c.run_at).where(_OF_TASK, _MAY_START).order_by(jobs.c.run_at).limit(1)
_FIRST_DUE, _FIRST_LATER = _FIRST.where(IS_LINED_UP), _FIRST.where(IS_FOR_LATER)


def _bounded_count(*where: ColumnElement[bool]) -> Select[int]:
    # Of a column that every index of the lines has, so that no row is looked at.
    rows = select(jobs.c.priority).where(_OF_LINE, *where).limit(bindparam("limit"))
    return select(func.count()).select_from(rows.subquery())


_IS_OF_LEVEL = jobs.c.priority == bindparam("priority")
_COUNT_ABOVE = _bounded_count(jobs.c.priority > bindparam("priority"))
_COUNT_LEVEL = _bounded_count(_IS_OF_LEVEL)
_COUNT_AHEAD = _bounded_count(_IS_OF_LEVEL, _IS_AHEAD)


def _counted(waits: ColumnElement[bool]) -> Select[str, int, int]:
    # The oldest is the first of its task in an index by time, so the count looks at no row.
    counted = select(jobs.c.task, func.count().label("waiting")).where(waits).group_by(jobs.c.task).subquery()
    of_task = select(jobs.c.run_at).where(waits, jobs.c.task == counted.c.task)
    return select(counted.c.task, counted.c.waiting, of_task.order_by(jobs.c.run_at).limit(1).scalar_subquery())


_IN_LINE, _FOR_LATER = _counted(IS_LINED_UP), _counted(IS_FOR_LATER)
_OVERDUE_COUNT = select(func.count(jobs.c.run_at)).where(_IS_OVERDUE)
_AT_BROKER = select(jobs.c.task).where(IS_DISPATCHED)
_AT_BROKER_COUNT = select(func.count()).where(IS_DISPATCHED, jobs.c.task.in_(bindparam("tasks", expanding=True)))
_AT_WORK = select(jobs.c.task).where(*IS_LEASED)


@dataclass(frozen=True, slots=True)
class Standing:
    """How many stand ahead of a job, and the task whose line may not be complete: some are due that have no turn."""

    ahead: int
    overdue: str | None


def due_jobs(connection: Connection, tasks: Collection[str], limit: int, now: datetime) -> list[Job]:
    """Return and lock the due jobs of `tasks` that come first."""
    return _first(connection, _DUE, tasks, limit, now)


def undispatched(connection: Connection, tasks: Collection[str], limit: int, now: datetime) -> list[Job]:
    """Return the due jobs of `tasks` that come first of those whose hint no broker has."""
    return _first(connection, _UNDISPATCHED, tasks, limit, now)


def dispatched(connection: Connection, tasks: Collection[str]) -> int:
    """Count the jobs of `tasks` whose hint a broker has."""
    return connection.execute(_AT_BROKER_COUNT, {"tasks": sorted(set(tasks))}).scalar_one()


def _first(
    connection: Connection, statement: Select[tuple[object, ...]], tasks: Collection[str], limit: int, now: datetime
) -> list[Job]:
    found: list[Job] = []
    for task in set(tasks) if limit > 0 else ():
        asked = {"task": task, "now": micros(now), "limit": limit}
        found += map(job_of, connection.execute(statement, asked))
    return sorted(found, key=line_order)[:limit]


def chosen_jobs(
    connection: Connection, job_ids: Collection[str], tasks: Collection[str], limit: int, now: datetime
) -> list[Job]:
    """Return and lock those of `job_ids` that are due jobs of `tasks`."""
    found = map(job_of, rows_by_id(connection, _CHOSEN, job_ids, {"now": micros(now)}))
    return sorted((job for job in found if job.task in tasks), key=line_order)[: max(limit, 0)]


def overdue_jobs(connection: Connection, task: str, limit: int, now: datetime) -> list[Job]:
    """Return and lock jobs of `task` that are due and have no place in line yet, the longest due first."""
    asked = {"task": task, "now": micros(now), "limit": limit}
    return [job_of(row) for row in connection.execute(_OVERDUE, asked)]


def overdue_tasks(connection: Connection, tasks: Collection[str], now: datetime) -> list[str]:
    """Return those of `tasks` that have such jobs."""
    return [task for task in set(tasks) if connection.execute(_ANY_OVERDUE, {"task": task, "now": micros(now)}).first()]


def expired_jobs(connection: Connection, limit: int, now: datetime) -> list[Job]:
    """Return and lock queued jobs whose time to start is over, the oldest first."""
    return [job_of(row) for row in connection.execute(_EXPIRED, {"now": micros(now), "limit": limit})]


def standing(connection: Connection, job_id: str, limit: int, now: datetime) -> Standing | None:
    """Count the due jobs ahead of a queued one, up to `limit`."""
    row = connection.execute(_PLACE, {"job_id": job_id}).first()
    if row is None:
        return None
    task, priority, turn = row
    asked = {"task": task, "priority": priority, "turn": turn, "job_id": job_id}
    ahead = 0
    for count in (_COUNT_ABOVE, _COUNT_LEVEL if turn is None else _COUNT_AHEAD):
        ahead += connection.execute(count, asked | {"limit": limit - ahead}).scalar_one()
    return Standing(ahead, next(iter(overdue_tasks(connection, [task], now)), None))


def next_due_seconds(connection: Connection, tasks: Collection[str], now: datetime) -> float | None:
    """Return the seconds until the first queued job of `tasks` is due, None if there is none."""
    times: list[int] = []
    for task in set(tasks):
        asked = {"task": task, "now": micros(now)}
        if connection.execute(_FIRST_DUE, asked).first():
            return 0.0
        times += connection.execute(_FIRST_LATER, asked).scalars()
    return max(0.0, (min(times) - micros(now)) / 1_000_000) if times else None


def depths(connection: Connection, now: datetime) -> dict[str, Depth]:
    """Count what waits and what runs, by task."""
    found: dict[str, Depth] = {}
    for task, count, oldest in connection.execute(_IN_LINE):
        found[task] = Depth(queued=count, due=count, oldest_seconds=_age(oldest, now))
    for task, count, oldest in connection.execute(_FOR_LATER):
        depth = found.get(task, Depth())
        due = 0
        if oldest <= micros(now):
            due = connection.execute(_OVERDUE_COUNT, {"task": task, "now": micros(now)}).scalar_one()
        age = max(depth.oldest_seconds, _age(oldest, now))
        found[task] = replace(depth, queued=depth.queued + count, due=depth.due + due, oldest_seconds=age)
    for task, count in Counter(connection.execute(_AT_BROKER).scalars()).items():
        found[task] = replace(found.get(task, Depth()), dispatched=count)
    for task, count in Counter(connection.execute(_AT_WORK).scalars()).items():
        found[task] = replace(found.get(task, Depth()), running=count)
    return found


def _age(oldest: int, now: datetime) -> float:
    return max(0.0, (micros(now) - oldest) / 1_000_000)
