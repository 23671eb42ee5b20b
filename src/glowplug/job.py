"""Jobs: the row is the truth, and this file is the only place that says how a row may change.

    queued ──claim──▶ running ──completed──▶ completed
      ▲                 │ ├────failed, out of budget──▶ failed
      └──error, crash, ─┘ └────canceled──▶ canceled
         interruption

Every transition is a pure function from a job to the next job and the events that tell it. Stores load, apply, and
save under a guard on `token` and `state`; they decide nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from glowplug.artifact import Artifact
from glowplug.errors import Conflict

MAX_ATTEMPTS_KEPT = 50
# What one job costs a user of weight 1; a user of weight 2 pays half of it, and so gets twice as many turns.
STRIDE = 1 << 20


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def done(self) -> bool:
        """Say whether nothing more will happen unless somebody retries it."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


class OutcomeKind(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CRASHED = "crashed"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    DISPLACED = "displaced"
    CANCELED = "canceled"

    @property
    def is_crash(self) -> bool:
        """Say whether it counts against the crash budget."""
        return self in (OutcomeKind.CRASHED, OutcomeKind.LOST)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `code` is an error code of ours or the foreign exception's class name."""

    code: str
    message: str
    retryable: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker, or the reaper in its place, says of an ended attempt."""

    kind: OutcomeKind
    result: Any = None
    failure: Failure | None = None
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A durable point to go on from: an artifact, the step it stands for, and the model version that wrote it."""

    step: int
    artifact: Artifact
    model_version: str = "1"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many attempts may fail before the job does. Interruptions are never counted."""

    errors: int = 3
    crashes: int = 3
    retry_base_seconds: float = 1.0
    retry_cap_seconds: float = 300.0

    def retry_delay_seconds(self, failures: int, jitter: float) -> float:
        """Return the full-jitter delay after the `failures`-th failure, `jitter` being uniform in 0..1.

        AWS Architecture Blog, "Exponential Backoff And Jitter": uniform(0, min(cap, base · 2^n)).
        """
        ceiling = min(self.retry_cap_seconds, self.retry_base_seconds * 2.0 ** min(failures - 1, 30))
        return ceiling * jitter


@dataclass(frozen=True, slots=True)
class Spent:
    """What is used up of the budget. `crashes` starts over at each checkpoint: a job that moves is not a poison."""

    errors: int = 0
    crashes: int = 0
    interruptions: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim of a job and its end; `outcome` is None while it runs."""

    number: int
    token: int
    worker_id: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: OutcomeKind | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the running attempt says it is: `done` of `total` (None if unknown), and a note in plain words."""

    done: float
    total: float | None = None
    note: str = ""
    preview: str | None = None

    @property
    def percent(self) -> float | None:
        """Return 0–100, or None while the total is unknown."""
        if not self.total:
            return None
        return round(100.0 * max(0.0, min(1.0, self.done / self.total)), 1)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One entry of a job's log. `seq` starts at 1 and has no gap; the terminal entry is the last of its run."""

    job_id: str
    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """What a running attempt reports: an event without its number. Types: see `NOTE_TYPES`."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Follower:
    """A door that is told the job's events of `types` (none named: of every type)."""

    door: str
    types: tuple[str, ...] = ()

    def wants(self, type: str) -> bool:  # noqa: A002 - an event's own word
        """Say whether events of `type` are told there."""
        return not self.types or type in self.types


NOTE_TYPES = frozenset({"progress", "metrics", "checkpoint", "artifact", "log", "resumed"})
TERMINAL_TYPES = frozenset({"completed", "failed", "canceled"})
EVENT_TYPES = NOTE_TYPES | TERMINAL_TYPES | {"queued", "started", "requeued", "canceling"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a caller submits. `key` is the idempotency key, unique for each owner.

    A job that has not been started at `expires_at` fails as expired. `stride` is what its turn costs the owner.
    `webhook_events` are the types that the webhook is told; none named leaves it to the door.
    """

    task: str
    input: Mapping[str, Any]
    owner: str = "local"
    key: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    batch_id: str | None = None
    budget: Budget = Budget()
    expires_at: datetime | None = None
    stride: int = STRIDE
    followers: tuple[Follower, ...] = ()

    @property
    def hash(self) -> str:
        """Return the digest that tells a repeated request from another one under the same key."""
        said = [self.task, self.input, self.priority, self.webhook, self.metadata, str(self.run_at)]
        if self.expires_at is not None:
            said.append(str(self.expires_at))
        if self.webhook_events:
            said.append(sorted(self.webhook_events))
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the store holds it. `token` only grows, once per claim; every later write must carry it.

    `turn` is its place in line among those of its task and priority, None while it is not due or not queued.
    `dispatched_at` is when a broker was given its hint.
    """

    id: str
    task: str
    input: Mapping[str, Any]
    owner: str
    state: JobState
    created_at: datetime
    run_at: datetime
    key: str | None = None
    request_hash: str = ""
    priority: int = 0
    webhook: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    batch_id: str | None = None
    budget: Budget = Budget()
    spent: Spent = Spent()
    attempts: tuple[Attempt, ...] = ()
    attempt: int = 0
    token: int = 0
    last_seq: int = 0
    worker_id: str | None = None
    lease_until: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    result: Any = None
    artifacts: tuple[Artifact, ...] = ()
    failure: Failure | None = None
    expires_at: datetime | None = None
    stride: int = STRIDE
    turn: int | None = None
    dispatched_at: datetime | None = None
    followers: tuple[Follower, ...] = ()

    @property
    def done(self) -> bool:
        """Say whether the job has ended."""
        return self.state.done

    @property
    def model(self) -> str:
        """Return the model's part of the task name."""
        return self.task.partition(".")[0]


Change = tuple[Job, tuple[JobEvent, ...]]


def new_job_id(now: datetime) -> str:
    """Return a fresh id that sorts by time: 12 hex digits of milliseconds, 12 random ones."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}"


def submitted(request: JobRequest, now: datetime) -> Change:
    """Make the row of a new job."""
    job_id = new_job_id(now)
    job = Job(
        id=job_id,
        task=request.task,
        input=request.input,
        owner=request.owner,
        state=JobState.QUEUED,
        created_at=now,
        run_at=request.run_at or now,
        key=request.key,
        request_hash=request.hash,
        priority=request.priority,
        webhook=request.webhook,
        metadata=request.metadata,
        batch_id=request.batch_id,
        budget=request.budget,
        expires_at=request.expires_at,
        stride=request.stride,
        followers=request.followers,
        last_seq=1,
    )
    return job, (JobEvent(job_id, 1, "queued", now, {"task": job.task}),)


def lined_up(job: Job, head: int | None, last: int | None) -> Job:
    """Give a due job its place in line: the smallest `turn` of its task and priority is served first.

    `head` is the smallest turn in that line, `last` the largest of the same owner in it; None for none. Stride
    scheduling (Waldspurger and Weihl 1995): each owner's jobs lie one stride apart, so owners take turns by their
    weights however many jobs each has. What has run before stands at the head: it has waited already.
    """
    front = 0 if head is None else head
    if job.spent != Spent():
        return replace(job, turn=front)
    return replace(job, turn=front if last is None else max(front, last + job.stride))


def dispatched(job: Job, now: datetime) -> Job:
    """Say that a broker has taken the job's hint."""
    return replace(job, dispatched_at=now)


def claimed(job: Job, worker_id: str, now: datetime, lease: timedelta) -> Change:
    """Hand a queued job to a worker: token and attempt grow, the lease starts."""
    token, number = job.token + 1, job.attempt + 1
    attempt = Attempt(number=number, token=token, worker_id=worker_id, started_at=now)
    events = _events(job, now, ("started", {"attempt": number, "worker": worker_id}))
    changed = replace(
        job,
        state=JobState.RUNNING,
        token=token,
        attempt=number,
        worker_id=worker_id,
        lease_until=now + lease,
        started_at=job.started_at or now,
        turn=None,
        dispatched_at=None,
        progress=None,
        attempts=(*job.attempts, attempt)[-MAX_ATTEMPTS_KEPT:],
        last_seq=job.last_seq + len(events),
    )
    return changed, events


def renewed(job: Job, now: datetime, lease: timedelta) -> Job:
    """Extend the lease of a running job."""
    return replace(job, lease_until=now + lease)


def noted(job: Job, notes: tuple[Note, ...], now: datetime) -> Change:
    """Append what the running attempt reported; a checkpoint gives the crash budget back."""
    checkpoint, progress, spent = job.checkpoint, job.progress, job.spent
    for note in notes:
        if note.checkpoint is not None:
            checkpoint, spent = note.checkpoint, replace(spent, crashes=0)
        if note.progress is not None:
            progress = note.progress
    events = _events(job, now, *((note.type, note.data) for note in notes))
    last_seq = job.last_seq + len(events)
    return replace(job, checkpoint=checkpoint, progress=progress, spent=spent, last_seq=last_seq), events


def settled(job: Job, outcome: Outcome, now: datetime, jitter: float = 1.0) -> Change:
    """End the running attempt and decide what becomes of the job. `jitter` is uniform in 0..1."""
    attempts = (*job.attempts[:-1], _ended(job, outcome, now))
    if outcome.kind is OutcomeKind.COMPLETED:
        job = replace(
            job,
            attempts=attempts,
            worker_id=None,
            lease_until=None,
            result=outcome.result,
            artifacts=outcome.artifacts,
            failure=None,
        )
        return _final(job, JobState.COMPLETED, now, {"result": outcome.result})
    job = replace(job, attempts=attempts, worker_id=None, lease_until=None)
    # A cancel that was asked for wins over any other end, so that a dead worker cannot make the job run again.
    if outcome.kind is OutcomeKind.CANCELED or job.cancel_requested_at is not None:
        return _final(job, JobState.CANCELED, now, {})
    if outcome.kind in (OutcomeKind.INTERRUPTED, OutcomeKind.DISPLACED):
        spent = replace(job.spent, interruptions=job.spent.interruptions + 1)
        # Back to where it stood in the queue, which is ahead of everything that came after it.
        return _again(replace(job, spent=spent), now, job.created_at, {"reason": outcome.kind.value})
    return _failed(job, outcome, now, jitter)


def cancel_asked(job: Job, now: datetime) -> Change:
    """Cancel a queued job at once; ask a running one to stop. Asking again changes nothing."""
    if job.done:
        raise Conflict(f"job {job.id} is already {job.state}", state=job.state.value)
    if job.cancel_requested_at is not None:
        return job, ()
    job = replace(job, cancel_requested_at=now)
    if job.state is JobState.QUEUED:
        return _final(job, JobState.CANCELED, now, {})
    return replace(job, last_seq=job.last_seq + 1), _events(job, now, ("canceling", {}))


def expired(job: Job, now: datetime) -> Change:
    """End a queued job whose time to start is over."""
    failure = Failure("expired", "nobody could start it before it expired", retryable=False)
    told = {"code": failure.code, "message": failure.message, "attempt": job.attempt}
    return _final(replace(job, failure=failure), JobState.FAILED, now, told)


def retried(job: Job, now: datetime) -> Change:
    """Queue an ended job again with fresh budgets; the token and the attempt history go on."""
    if not job.done or job.state is JobState.COMPLETED:
        raise Conflict(f"job {job.id} is {job.state}; only failed and canceled jobs can be retried")
    job = replace(job, spent=Spent(), failure=None, cancel_requested_at=None, finished_at=None, expires_at=None)
    return _again(job, now, now, {"reason": "asked"})


def repeats_last_settlement(job: Job, token: int, kind: OutcomeKind) -> bool:
    """Say whether a settlement that finds no running attempt is the one already applied, sent twice.

    The token alone cannot tell: after the reaper took an attempt away, its token is still the last one.
    """
    last = job.attempts[-1] if job.attempts else None
    return last is not None and last.token == token and last.outcome is kind


def _failed(job: Job, outcome: Outcome, now: datetime, jitter: float) -> Change:
    failure = outcome.failure or Failure(outcome.kind.value, f"the attempt was {outcome.kind}")
    if outcome.kind.is_crash:
        spent = replace(job.spent, crashes=job.spent.crashes + 1)
        used, allowed = spent.crashes, job.budget.crashes
    else:
        spent = replace(job.spent, errors=job.spent.errors + 1)
        used, allowed = spent.errors, job.budget.errors
    job = replace(job, spent=spent, failure=failure)
    told = {"code": failure.code, "message": failure.message, "attempt": job.attempt}
    if used >= allowed or not failure.retryable:
        return _final(job, JobState.FAILED, now, told)
    delay = 0.0 if outcome.kind.is_crash else job.budget.retry_delay_seconds(used, jitter)
    run_at = job.created_at if outcome.kind.is_crash else now + timedelta(seconds=delay)
    return _again(job, now, run_at, {"reason": outcome.kind.value, "delay_seconds": round(delay, 3), **told})


def _ended(job: Job, outcome: Outcome, now: datetime) -> Attempt:
    return replace(job.attempts[-1], ended_at=now, outcome=outcome.kind, failure=outcome.failure)


def _final(job: Job, state: JobState, now: datetime, data: Mapping[str, Any]) -> Change:
    events = _events(job, now, (state.value, data))
    ended = replace(job, state=state, finished_at=now, turn=None, dispatched_at=None, last_seq=job.last_seq + 1)
    return ended, events


def _again(job: Job, now: datetime, run_at: datetime, data: Mapping[str, Any]) -> Change:
    events = _events(job, now, ("requeued", data))
    return replace(job, state=JobState.QUEUED, run_at=run_at, progress=None, last_seq=job.last_seq + 1), events


def _events(job: Job, now: datetime, *told: tuple[str, Mapping[str, Any]]) -> tuple[JobEvent, ...]:
    return tuple(
        JobEvent(job_id=job.id, seq=job.last_seq + number, type=kind, at=now, data=data)
        for number, (kind, data) in enumerate(told, start=1)
    )
