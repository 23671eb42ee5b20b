"""Reading the queue in its order: by priority, high first, then `run_at`, then id.

Jobs of one priority lie in the index by `run_at`, so the due ones are a range. The priorities in use are therefore
walked level by level: a million jobs that wait for tomorrow cost nothing today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Select, bindparam, case, func, select, tuple_

from glowplug.job import Job
from glowplug.store import Depth, Want
from glowplug.stores.moments import micros
from glowplug.stores.rows import job_of
from glowplug.stores.tables import IS_LEASED, IS_QUEUED, jobs

_TOP = 2**31

_WAITS = (IS_QUEUED, jobs.c.task == bindparam("task"))
_IS_DUE = jobs.c.run_at <= bindparam("now")
_IS_OF_LEVEL = jobs.c.priority == bindparam("priority")


def _bounded_count(rows: Select[str]) -> Select[int]:
    return select(func.count()).select_from(rows.limit(bindparam("limit")).subquery())


_LEVEL = (
    select(jobs.c.priority)
    .where(*_WAITS, jobs.c.priority < bindparam("below"))
    .order_by(jobs.c.priority.desc())
    .limit(1)
)
_DUE = (
    select(jobs)
    .where(*_WAITS, _IS_DUE, jobs.c.priority == _LEVEL.scalar_subquery())
    .order_by(jobs.c.run_at, jobs.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_PLACE = select(jobs.c.task, jobs.c.priority, jobs.c.run_at).where(IS_QUEUED, jobs.c.id == bindparam("job_id"))
_OF_LEVEL = select(jobs.c.id).where(*_WAITS, _IS_DUE, _IS_OF_LEVEL)
_AHEAD = tuple_(jobs.c.run_at, jobs.c.id) < tuple_(bindparam("run_at"), bindparam("job_id"))
_COUNT_LEVEL = _bounded_count(_OF_LEVEL)
_COUNT_AHEAD = _bounded_count(_OF_LEVEL.where(_AHEAD))
_FIRST = select(jobs.c.run_at).where(*_WAITS, _IS_OF_LEVEL).order_by(jobs.c.run_at).limit(1)
_DUE_COUNT = func.sum(case((_IS_DUE, 1), else_=0))
_WAITING = select(jobs.c.task, func.count(), _DUE_COUNT, func.min(jobs.c.run_at)).where(IS_QUEUED).group_by(jobs.c.task)
_AT_WORK = select(jobs.c.task).where(*IS_LEASED)


def due_jobs(connection: Connection, want: Want, now: datetime) -> list[Job]:
    """Return and lock the due jobs of `want` that come first."""
    if want.slots <= 0:
        return []
    found = [job for task in dict.fromkeys(want.tasks) for job in _due_of_task(connection, task, want.slots, now)]
    found.sort(key=lambda job: (-job.priority, job.run_at, job.id))
    return found[: want.slots]


def _due_of_task(connection: Connection, task: str, limit: int, now: datetime) -> list[Job]:
    due: list[Job] = []
    below: int | None = _TOP
    while below is not None and len(due) < limit:
        asked = {"task": task, "below": below, "now": micros(now), "limit": limit - len(due)}
        level = [job_of(row) for row in connection.execute(_DUE, asked)]
        due += level
        # A level whose jobs are all for later looks like no level at all, so that case is asked for.
        below = level[-1].priority if level else next_level(connection, task, below)
    return due


def next_level(connection: Connection, task: str, below: int = _TOP) -> int | None:
    """Return the highest priority under `below` that a queued job of `task` has."""
    level: int | None = connection.execute(_LEVEL, {"task": task, "below": below}).scalar()
    return level


def levels(connection: Connection, task: str) -> Iterator[int]:
    """Yield the priorities that queued jobs of `task` have, high first."""
    level = next_level(connection, task)
    while level is not None:
        yield level
        level = next_level(connection, task, level)


def position(connection: Connection, job_id: str, limit: int, now: datetime) -> int | None:
    """Count the due jobs ahead of a queued one, up to `limit`."""
    row = connection.execute(_PLACE, {"job_id": job_id}).first()
    if row is None:
        return None
    task, priority, run_at = row
    asked = {"task": task, "now": micros(now), "run_at": run_at, "job_id": job_id}
    ahead = 0
    for level in levels(connection, task):
        if level < priority or ahead >= limit:
            break
        count = _COUNT_AHEAD if level == priority else _COUNT_LEVEL
        ahead += connection.execute(count, asked | {"priority": level, "limit": limit - ahead}).scalar_one()
    return ahead


def next_due_seconds(connection: Connection, tasks: Sequence[str], now: datetime) -> float | None:
    """Return the seconds until the first queued job of `tasks` is due, None if there is none."""
    earliest: int | None = None
    for task in dict.fromkeys(tasks):
        for level in levels(connection, task):
            first: int = connection.execute(_FIRST, {"task": task, "priority": level}).scalar_one()
            earliest = first if earliest is None else min(earliest, first)
            if earliest <= micros(now):
                return 0.0
    return None if earliest is None else (earliest - micros(now)) / 1_000_000


def depths(connection: Connection, now: datetime) -> dict[str, Depth]:
    """Count what waits and what runs, by task."""
    found: dict[str, Depth] = {}
    for task, queued, due, oldest in connection.execute(_WAITING, {"now": micros(now)}):
        age = (micros(now) - oldest) / 1_000_000 if due else 0.0
        found[task] = Depth(queued=queued, due=due, oldest_seconds=age)
    for task, running in Counter(connection.execute(_AT_WORK).scalars()).items():
        found[task] = replace(found.get(task, Depth()), running=running)
    return found
