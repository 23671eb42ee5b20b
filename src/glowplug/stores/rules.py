"""What every store does the same way, as pure functions: who holds a job, what a repeat is, how a page goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

import msgspec

from glowplug.errors import IdempotencyMismatch, InvalidInput, NotFound
from glowplug.job import Change, Follower, Job, JobEvent, JobRequest, JobState, repeats_last_settlement, settled
from glowplug.store import Delivery, Hold, Settled, Settlement, Submission
from glowplug.stores.moments import micros, moment

_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{1,32})")
_PRIORITY_LIMIT = 2**31
_STRIDE_LIMIT = 2**31
_TRIES_KEPT = 20
_TEXTS = ("task", "owner", "key", "batch_id", "webhook")


def checked(request: JobRequest) -> JobRequest:
    """Return a request that reads back as it was said, cut loose from the caller's own objects.

    Raises:
        InvalidInput: a value is not plain JSON, a text is not Unicode, a time has no zone or lies beyond the calendar,
            or the priority or the stride is out of range.
    """
    for name in _TEXTS:
        _check_text(name, getattr(request, name))
    if abs(request.priority) >= _PRIORITY_LIMIT:
        raise InvalidInput(f"priority {request.priority} is out of range", fields=["priority"])
    if not 0 < request.stride < _STRIDE_LIMIT:
        raise InvalidInput(f"stride {request.stride} is out of range", fields=["stride"])
    for name in ("run_at", "expires_at"):
        _check_moment(name, getattr(request, name))
    for follower in request.followers:
        for text in (follower.door, *follower.types):
            _check_text("followers", text)
    return replace(request, input=_plain("input", request.input), metadata=_plain("metadata", request.metadata))


def _check_text(name: str, value: str | None) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} is not Unicode text: {error.reason}", fields=[name]) from error
    if value is not None and "\x00" in value:
        raise InvalidInput(f"{name} holds the character NUL, which not every database can keep", fields=[name])


def _check_moment(name: str, at: datetime | None) -> None:
    if at is None:
        return
    if at.utcoffset() is None:
        raise InvalidInput(f"{name} needs a time zone, such as a final Z", fields=[name])
    try:
        at.astimezone(UTC)
    except OverflowError as error:
        # Its row could be written, and then neither it nor a page or a claim with it could ever be read again.
        raise InvalidInput(f"{name} is no time between the years 1 and 9999 in UTC", fields=[name]) from error


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


def line_order(job: Job) -> tuple[int, bool, int, str]:
    """Return what jobs are claimed by, the smallest first: priority, turn, id. What has no turn yet is last."""
    return (-job.priority, job.turn is None, job.turn or 0, job.id)


def waits_for_its_turn(job: Job, now: datetime) -> bool:
    """Say whether the job is due and has no place in line yet."""
    return job.state is JobState.QUEUED and job.turn is None and job.run_at <= now


def may_start(job: Job, now: datetime) -> bool:
    """Say whether a worker could take the job: it is due, or was before a clock went back, and has not expired."""
    is_due = job.turn is not None or job.run_at <= now
    return job.state is JobState.QUEUED and is_due and not is_expired(job, now)


def is_expired(job: Job, now: datetime) -> bool:
    """Say whether the time to start is over."""
    return job.expires_at is not None and job.expires_at <= now


def doors_to_tell(followers: Iterable[Follower], events: Iterable[JobEvent]) -> list[str]:
    """Return the doors of the followers that want one of these events."""
    types = {event.type for event in events}
    return list(dict.fromkeys(one.door for one in followers if any(map(one.wants, types))))


def woken(delivery: Delivery, now: datetime) -> Delivery:
    """Make a delivery due, unless it has a time already or was given up."""
    return delivery if delivery.given_up or delivery.due_at is not None else replace(delivery, due_at=now)


def to_save(delivery: Delivery, followers: Iterable[Follower], later: Iterable[JobEvent], now: datetime) -> Delivery:
    """Return a delivery as it is to be saved, `later` being the events above its `seq`."""
    delivery = replace(delivery, tries=delivery.tries[-_TRIES_KEPT:])
    return woken(delivery, now) if delivery.door in doors_to_tell(followers, later) else delivery
