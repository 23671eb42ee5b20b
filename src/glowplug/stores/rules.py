"""What every store does the same way, as pure functions: who holds a job, what a repeat is, how a page goes on."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

import msgspec

from glowplug.errors import IdempotencyMismatch, InvalidInput, NotFound
from glowplug.job import Change, Job, JobRequest, JobState, repeats_last_settlement, settled
from glowplug.store import Hold, Settled, Settlement, Submission
from glowplug.stores.moments import micros, moment

_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{1,32})")
_PRIORITY_LIMIT = 2**31
_TEXTS = ("task", "owner", "key", "batch_id", "webhook")


def checked(request: JobRequest) -> JobRequest:
    """Return a request that reads back as it was said, cut loose from the caller's own objects.

    Raises:
        InvalidInput: a value is not plain JSON, a text is not Unicode, a time has no zone or lies beyond the calendar,
            or the priority is out of range.
    """
    for name in _TEXTS:
        _check_text(name, getattr(request, name))
    if abs(request.priority) >= _PRIORITY_LIMIT:
        raise InvalidInput(f"priority {request.priority} is out of range", fields=["priority"])
    if request.run_at is not None:
        _check_moment(request.run_at)
    return replace(request, input=_plain("input", request.input), metadata=_plain("metadata", request.metadata))


def _check_text(name: str, value: str | None) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} is not Unicode text: {error.reason}", fields=[name]) from error


def _check_moment(at: datetime) -> None:
    if at.utcoffset() is None:
        raise InvalidInput("run_at needs a time zone, such as a final Z", fields=["run_at"])
    try:
        at.astimezone(UTC)
    except OverflowError as error:
        # Its row could be written, and then neither it nor a page or a claim with it could ever be read again.
        raise InvalidInput("run_at is no time between the years 1 and 9999 in UTC", fields=["run_at"]) from error


def _plain(name: str, value: Any) -> Any:
    try:
        copy = msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is not JSON: {error}", fields=[name]) from error
    # Not-a-number would become null and a number as a key a text: better refused than stored as something else.
    if copy != value:
        raise InvalidInput(f"{name} does not survive being written as JSON", fields=[name])
    return copy


def resubmitted(job: Job, request: JobRequest) -> Submission:
    """Answer a request whose key is there already. Raises `IdempotencyMismatch` if it asks for something else."""
    if job.request_hash != request.hash:
        raise IdempotencyMismatch(f"key {request.key!r} was used before with another request", job=job.id)
    return Submission(job, created=False)


def found(job: Job | None, job_id: str) -> Job:
    """Return the job, or raise `NotFound`."""
    if job is None:
        raise NotFound(f"no job {job_id[:80]!r}")
    return job


def is_held(job: Job | None, hold: Hold) -> TypeGuard[Job]:
    """Say whether the claim that `hold` speaks of still owns the job."""
    return job is not None and job.state is JobState.RUNNING and job.token == hold.token


def settle(job: Job | None, settlement: Settlement, now: datetime, jitter: float) -> tuple[Settled, Change | None]:
    """Answer one settlement; the change is None if nothing is to be written."""
    hold, outcome = settlement.hold, settlement.outcome
    if is_held(job, hold):
        change = settled(job, outcome, now, jitter)
        return Settled(hold, accepted=True, job=change[0]), change
    repeat = job is not None and repeats_last_settlement(job, hold.token, outcome.kind)
    return Settled(hold, accepted=repeat, job=job), None


def cursor_after(job: Job) -> str:
    """Return the cursor of the page that goes on behind `job`."""
    return f"{micros(job.created_at)}-{job.id}"


def parse_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the time of creation and the id that a cursor stands for. Raises `InvalidInput` if it is none of ours."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidInput("not a cursor of ours; take next_cursor of the page before", fields=["cursor"])
    return moment(int(match[1])), match[2]
