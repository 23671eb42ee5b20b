"""The ends of the lines that jobs stand in, as one transaction finds and moves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, Transaction, bindparam, select

from glowplug.job import Job, lined_up
from glowplug.stores.tables import IS_LINED_UP, jobs

KEPT = "glowplug_lines"

_OF_LINE = select(jobs.c.turn).where(
    IS_LINED_UP, jobs.c.task == bindparam("task"), jobs.c.priority == bindparam("priority")
)
_HEAD = _OF_LINE.order_by(jobs.c.turn).limit(1)
_LAST = _OF_LINE.where(jobs.c.owner == bindparam("owner")).order_by(jobs.c.turn.desc()).limit(1)
_ENDS = select(_HEAD.scalar_subquery(), _LAST.scalar_subquery())


@dataclass(slots=True)
class Line:
    """The smallest turn in a line, and the largest of each owner that was asked for; None for none."""

    head: int | None = None
    lasts: dict[str, int | None] = field(default_factory=dict)


class Lines:
    """Gives due jobs their places in line, one after the other.

    What is known of the lines is kept while the transaction lasts, because operations of many callers share one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lines = _kept(connection)

    def lined_up(self, job: Job) -> Job:
        """Give a job its place; the next one finds it there."""
        line = self._ends_for(job)
        last = line.lasts[job.owner]
        job = lined_up(job, line.head, last)
        if job.turn is not None:
            line.head = job.turn if line.head is None else line.head
            line.lasts[job.owner] = job.turn if last is None else max(last, job.turn)
        return job

    def left(self, job: Job) -> None:
        """Say that a job has left its line, so that the line's ends are looked for again."""
        self._lines.pop((job.task, job.priority), None)

    def _ends_for(self, job: Job) -> Line:
        line = self._lines.setdefault((job.task, job.priority), Line())
        if job.owner not in line.lasts:
            asked = {"task": job.task, "priority": job.priority, "owner": job.owner}
            head, line.lasts[job.owner] = self._connection.execute(_ENDS, asked).one()
            # What was found before counts jobs that are not written yet.
            line.head = head if line.head is None else line.head
        return line


def _kept(connection: Connection) -> dict[tuple[str, int], Line]:
    transaction = connection.get_transaction()
    kept: tuple[Transaction | None, dict[tuple[str, int], Line]] | None = connection.info.get(KEPT)
    if kept is None or transaction is None or kept[0] is not transaction:
        kept = connection.info[KEPT] = (transaction, {})
    return kept[1]
