"""A unit of work on jobs: load the rows, apply transitions, save what became of them under their guards."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from glowplug.errors import BugError
from glowplug.job import Change, Job, JobEvent
from glowplug.stores.database import note_written
from glowplug.stores.deliveries import wake
from glowplug.stores.lines import Lines
from glowplug.stores.rows import changed_columns, event_row, job_of, job_row
from glowplug.stores.rules import waits_for_its_turn
from glowplug.stores.statements import rows_by_id, write_many
from glowplug.stores.tables import events, jobs

_UPDATE = update(jobs).where(
    jobs.c.id == bindparam("was_id"),
    jobs.c.token == bindparam("was_token"),
    jobs.c.state == bindparam("was_state"),
)
_INSERT_JOBS = insert(jobs)
_INSERT_EVENTS = insert(events)
# In one order for all, so that two that lock the same rows cannot wait for each other.
_LOAD = select(jobs).order_by(jobs.c.id).with_for_update()


class Changes:
    """Jobs of one transaction, as they were read and as they are to be. What is due gets its place in line."""

    def __init__(self, connection: Connection, now: datetime, loaded: Iterable[Job] = ()) -> None:
        self._connection = connection
        self._now = now
        self._lines = Lines(connection)
        self._before = {job.id: job for job in loaded}
        self._after = dict(self._before)
        self._events: list[JobEvent] = []

    @classmethod
    def load(cls, connection: Connection, job_ids: Collection[str], now: datetime) -> Changes:
        """Read and lock the rows of `job_ids`; absent ones are left out."""
        return cls(connection, now, map(job_of, rows_by_id(connection, _LOAD, job_ids, {})))

    def get(self, job_id: str) -> Job | None:
        """Return a job as it is to be, or None."""
        return self._after.get(job_id)

    def apply(self, change: Change) -> Job:
        """Take a transition's result and return the job as it is to be; its row is new if it was not loaded."""
        job, told = change
        if waits_for_its_turn(job, self._now):
            job = self._lines.lined_up(job)
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
        wake(self._connection, self._after, self._events)
        note_written(self._connection, (self._after[event.job_id] for event in self._events))

    def _updates(self) -> Iterable[list[dict[str, Any]]]:
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for job_id, before in self._before.items():
            after = self._after[job_id]
            columns = changed_columns(before, after)
            if before.turn is not None and after.turn is None:
                self._lines.left(before)
            if columns:
                guard = {"was_id": job_id, "was_token": before.token, "was_state": before.state.value}
                groups.setdefault(tuple(columns), []).append(columns | guard)
        return groups.values()
