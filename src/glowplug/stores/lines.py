"""The ends of the lines that jobs stand in, as one transaction finds and moves them."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from glowplug.job import Job, lined_up
from glowplug.stores.tables import IS_LINED_UP, jobs

Line = tuple[str, int]

_OF_LINE = select(jobs.c.turn).where(
    IS_LINED_UP, jobs.c.task == bindparam("task"), jobs.c.priority == bindparam("priority")
)
_HEAD = _OF_LINE.order_by(jobs.c.turn).limit(1)
_LAST = _OF_LINE.where(jobs.c.owner == bindparam("owner")).order_by(jobs.c.turn.desc()).limit(1)
_ENDS = select(_HEAD.scalar_subquery(), _LAST.scalar_subquery())


class Lines:
    """Gives due jobs their places in line, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heads: dict[Line, int | None] = {}
        self._lasts: dict[tuple[Line, str], int | None] = {}

    def lined_up(self, job: Job) -> Job:
        """Give a job its place; the next one finds it there."""
        line = (job.task, job.priority)
        owned = (line, job.owner)
        if owned not in self._lasts:
            asked = {"task": job.task, "priority": job.priority, "owner": job.owner}
            head, self._lasts[owned] = self._connection.execute(_ENDS, asked).one()
            self._heads.setdefault(line, head)
        job = lined_up(job, self._heads[line], self._lasts[owned])
        if job.turn is not None:
            head, last = self._heads[line], self._lasts[owned]
            self._heads[line] = job.turn if head is None else head
            self._lasts[owned] = job.turn if last is None else max(last, job.turn)
        return job
