"""A unit of work on jobs: load the rows, apply transitions, save what became of them under their guards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Update, bindparam, insert, select, update
from sqlalchemy.sql.compiler import SQLCompiler

from glowplug.errors import BugError
from glowplug.job import Change, Job, JobEvent
from glowplug.stores.rows import changed_columns, event_row, job_of, job_row
from glowplug.stores.tables import events, jobs

_UPDATE = update(jobs).where(
    jobs.c.id == bindparam("was_id"),
    jobs.c.token == bindparam("was_token"),
    jobs.c.state == bindparam("was_state"),
)
_INSERT_JOBS = insert(jobs)
_INSERT_EVENTS = insert(events)
_LOAD = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).with_for_update()


class Changes:
    """Jobs of one transaction, as they were read and as they are to be."""

    def __init__(self, connection: Connection, loaded: Iterable[Job] = ()) -> None:
        self._connection = connection
        self._before = {job.id: job for job in loaded}
        self._after = dict(self._before)
        self._events: list[JobEvent] = []

    @classmethod
    def load(cls, connection: Connection, job_ids: Sequence[str]) -> Changes:
        """Read and lock the rows of `job_ids`; absent ones are left out."""
        return cls(connection, map(job_of, connection.execute(_LOAD, {"ids": list(job_ids)})))

    def get(self, job_id: str) -> Job | None:
        """Return a job as it is to be, or None."""
        return self._after.get(job_id)

    def apply(self, change: Change) -> Job:
        """Take a transition's result; the job is a new one if its row was not loaded."""
        job, told = change
        self._after[job.id] = job
        self._events.extend(told)
        return job

    def save(self) -> None:
        """Write what has changed, one statement for all rows that changed alike.

        Raises:
            BugError: a row is no longer as it was read, although it was locked.
        """
        fresh = [job_row(job) for job_id, job in self._after.items() if job_id not in self._before]
        write_many(self._connection, _INSERT_JOBS, fresh)
        for alike in self._updates():
            if write_many(self._connection, _UPDATE, alike) != len(alike):
                raise BugError("a job changed under its lock")
        write_many(self._connection, _INSERT_EVENTS, [event_row(event) for event in self._events])

    def _updates(self) -> Iterable[list[dict[str, Any]]]:
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for job_id, before in self._before.items():
            columns = changed_columns(before, self._after[job_id])
            if columns:
                guard = {"was_id": job_id, "was_token": before.token, "was_state": before.state.value}
                groups.setdefault(tuple(columns), []).append(columns | guard)
        return groups.values()


def write_many(connection: Connection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run a statement for rows that have the same columns, and return how many it met.

    SQLAlchemy's own way prepares the parameters of each row anew, which takes longer than the writing.
    """
    if not rows:
        return 0
    compiled = _compiled(statement, tuple(rows[0]), connection.dialect)
    if compiled.positiontup is None:
        return connection.exec_driver_sql(compiled.string, list(rows)).rowcount
    pick = itemgetter(*compiled.positiontup)
    return connection.exec_driver_sql(compiled.string, [pick(row) for row in rows]).rowcount


@lru_cache(maxsize=64)
def _compiled(statement: Insert | Update | Delete, columns: tuple[str, ...], dialect: Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect, column_keys=list(columns))
