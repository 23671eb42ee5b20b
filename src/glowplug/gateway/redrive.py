"""Redrive: failed jobs, chosen by what they have in common, are queued again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from glowplug.errors import Conflict, InvalidInput, NotFound
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.schemas import RedriveJobs, RedrivenView
from glowplug.gateway.subjects import Subject
from glowplug.job import Job, JobState
from glowplug.store import JobFilter, Store

PAGE_JOBS = 200


class Redrive:
    """Queues dead letters again, as `retry` does with one."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def redrive(self, wish: RedriveJobs, subject: Subject) -> RedrivenView:
        """Queue the newest failed jobs that match and that the subject sees, the oldest of them first in line.

        Raises:
            InvalidInput: a time is beyond the calendar.
        """
        _check_moment("failed_after", wish.failed_after)
        _check_moment("failed_before", wish.failed_before)
        found = await self._found(wish, subject)
        redriven = []
        for job_id in reversed(found[: wish.limit]):
            # Somebody else was faster: it waits already, or is gone.
            with suppress(Conflict, NotFound):
                redriven.append((await self._ledger.retry(job_id)).id)
        return RedrivenView(redriven, len(found) > wish.limit)

    async def _found(self, wish: RedriveJobs, subject: Subject) -> list[str]:
        """Return the ids of one more than are asked for, if there are as many."""
        where = JobFilter(
            states=(JobState.FAILED,),
            task=wish.task,
            owner=subject.owner_asked(wish.owner),
            created_before=wish.failed_before,
        )
        found: list[str] = []
        cursor: str | None = None
        while len(found) <= wish.limit:
            page = await self._store.jobs(where, cursor=cursor, limit=PAGE_JOBS)
            found += [job.id for job in page.jobs if _matches(job, wish)]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found


def _matches(job: Job, wish: RedriveJobs) -> bool:
    at = job.finished_at or job.created_at
    return (
        (wish.error_code is None or (job.failure is not None and job.failure.code == wish.error_code))
        and (wish.failed_after is None or at > wish.failed_after)
        and (wish.failed_before is None or at < wish.failed_before)
    )


def _check_moment(name: str, at: datetime | None) -> None:
    try:
        if at is not None:
            at.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"{name} is no time between the years 1 and 9999 in UTC", fields=[{"path": name}]) from error
