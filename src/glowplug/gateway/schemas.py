"""The shapes of the API: what callers send and what they get, and the views that make the one from our nouns.

They are msgspec structs: fast on the wire, strict on the way in, and the source of the OpenAPI document.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from glowplug.artifact import SCHEME, Artifact
from glowplug.gateway.ledger import last_run_seconds
from glowplug.gateway.signing import LinkSigner
from glowplug.job import Attempt, Failure, Job, JobEvent, Progress
from glowplug.readiness import ComponentSnapshot
from glowplug.store import Delivery, ModelInfo, TaskInfo, WorkerRecord


class Submit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job to queue. `webhook_events` are the types of event that the webhook is told, `*` for all of them.

    None named, it is told that the job has started and how it ended. A job that has not been started at `expires_at`
    fails as expired.
    """

    task: str
    input: dict[str, Any] = {}
    priority: int = 0
    webhook: str | None = None
    webhook_events: list[str] = []
    metadata: dict[str, Any] = {}
    run_at: datetime | None = None
    expires_at: datetime | None = None


class SubmitBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs to queue together: all or none."""

    jobs: list[Submit]


class RedriveJobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which failed jobs to queue again; what is not named is not looked at. `owner` is for operators.

    `error_code` is the code of the job's error; the newest `limit` are taken.
    """

    task: str | None = None
    error_code: str | None = None
    owner: str | None = None
    failed_after: Annotated[datetime, Meta(tz=True)] | None = None
    failed_before: Annotated[datetime, Meta(tz=True)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class RedrivenView(msgspec.Struct, frozen=True):
    """The jobs that were queued again, in the order in which they stand in line, and whether more of them match."""

    redriven: list[str]
    more: bool


class ErrorView(msgspec.Struct, frozen=True):
    """Why an attempt or a job failed."""

    code: str
    message: str
    retryable: bool
    details: Mapping[str, Any] = {}


class AttemptView(msgspec.Struct, frozen=True):
    """One run of a job."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    outcome: str | None
    error: ErrorView | None


class ProgressView(msgspec.Struct, frozen=True):
    """How far the running attempt is. `preview` is a reference that stays, `preview_url` where its bytes are."""

    done: float
    total: float | None
    percent: float | None
    note: str
    preview: str | None
    preview_url: str | None = None


class ArtifactView(msgspec.Struct, frozen=True):
    """A stored file: `uri` is the reference that stays, `url` is where its bytes are."""

    uri: str
    key: str
    name: str
    size_bytes: int
    sha256: str
    media_type: str
    url: str


class JobUrls(msgspec.Struct, frozen=True):
    """Where to go on from a job."""

    get: str
    events: str
    logs: str
    cancel: str
    retry: str
    web: str


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as callers see it. `position` counts the jobs ahead in the queue, 0 being next.

    It is told up to 10000; with `position_is_exact` false, there are more than that.
    """

    id: str
    task: str
    state: str
    done: bool
    input: Mapping[str, Any]
    owner: str
    priority: int
    created_at: datetime
    run_at: datetime
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    run_seconds: float | None
    attempt: int
    attempts: list[AttemptView]
    progress: ProgressView | None
    position: int | None
    position_is_exact: bool
    estimated_start_seconds: float | None
    result: Any
    artifacts: list[ArtifactView]
    error: ErrorView | None
    metadata: Mapping[str, Any]
    batch_id: str | None
    cancel_requested: bool
    last_seq: int
    urls: JobUrls


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, newest first; `position` is told by a look at one job only."""

    jobs: list[JobView]
    next_cursor: str | None


class BatchView(msgspec.Struct, frozen=True):
    """The jobs of a batch, and whether all of them are done."""

    batch_id: str
    done: bool
    jobs: list[JobView]


class EventView(msgspec.Struct, frozen=True):
    """One event of a job's log."""

    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any]


class TryView(msgspec.Struct, frozen=True):
    """One try to tell a door something: up to which event it was taken, and the error if not all was."""

    at: datetime
    seq: int
    status: int | None
    error: str
    seconds: float


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a door was told of a job: all up to `seq`. The rest is tried at `due_at`, unless it was given up."""

    door: str
    seq: int
    due_at: datetime | None
    failures: int
    failing_since: datetime | None
    given_up: bool
    tries: list[TryView]


class DeliveryList(msgspec.Struct, frozen=True):
    """The deliveries of a job, by door."""

    deliveries: list[DeliveryView]


class TaskView(msgspec.Struct, frozen=True):
    """A task with its schemas. `serves` is the operation of other protocols that it answers, if any."""

    name: str
    summary: str
    model: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    example: Mapping[str, Any] | None
    batch: int
    streams: bool
    serves: str


class TaskList(msgspec.Struct, frozen=True):
    """Every task that is known here."""

    tasks: list[TaskView]


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model as OpenAI's clients list it; `serves` are the operations for which it can be named."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "glowplug"
    serves: list[str] = []


class ModelView(ModelEntry, frozen=True, kw_only=True):
    """A model over all workers. `state` is a component's status, or `offline` when no worker has it."""

    name: str
    version: str | None
    ready: bool
    state: str
    progress: float
    workers: list[str]
    tasks: list[str]
    estimated_seconds: int | None = None
    error: str | None = None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Every model that is known here; `object` and `data` are what OpenAI's clients read."""

    object: str = "list"
    data: list[ModelEntry]
    models: list[ModelView]

    @classmethod
    def of(cls, models: list[ModelView]) -> ModelList:
        """Return the list of these models."""
        return cls(data=[ModelEntry(id=one.id, serves=one.serves) for one in models], models=models)


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the registry knows it."""

    instance_id: str
    status: str
    last_seen: datetime
    url: str | None
    models: list[str]
    load_time_seconds: float | None
    error: str | None
    outstanding: int


class WorkerList(msgspec.Struct, frozen=True):
    """Every worker that is known here."""

    workers: list[WorkerView]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What every error looks like (RFC 9457); more members may follow."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool


class Links:
    """Builds the links in answers; `base` goes before each, empty for relative ones.

    With a `signer`, those to artifacts open without a token for a while.
    """

    def __init__(self, base: str, signer: LinkSigner | None = None) -> None:
        self._base = base.rstrip("/")
        self._signer = signer

    def artifact(self, key: str) -> str:
        """Return where an artifact's bytes are."""
        query = f"?{self._signer.query(key)}" if self._signer else ""
        return f"{self._base}/v1/artifacts/{quote(key)}{query}"

    def job(self, job_id: str) -> JobUrls:
        """Return where to go on from a job."""
        own = f"{self._base}/v1/jobs/{job_id}"
        return JobUrls(
            own, f"{own}/events", f"{own}/logs", f"{own}/cancel", f"{own}/retry", f"{self._base}/jobs/{job_id}"
        )


def artifact_view(artifact: Artifact, links: Links) -> ArtifactView:
    """Return the view of an artifact."""
    return ArtifactView(
        artifact.uri,
        artifact.key,
        artifact.name,
        artifact.size_bytes,
        artifact.sha256,
        artifact.media_type,
        links.artifact(artifact.key),
    )


def job_view(
    job: Job,
    links: Links,
    *,
    position: int | None = None,
    position_is_exact: bool = True,
    estimated_start_seconds: float | None = None,
) -> JobView:
    """Return the view of a job."""
    return JobView(
        id=job.id,
        task=job.task,
        state=job.state.value,
        done=job.done,
        input=job.input,
        owner=job.owner,
        priority=job.priority,
        created_at=job.created_at,
        run_at=job.run_at,
        expires_at=job.expires_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        run_seconds=last_run_seconds(job),
        attempt=job.attempt,
        attempts=[_attempt_view(attempt) for attempt in job.attempts],
        progress=_progress_view(job.progress, links),
        position=position,
        position_is_exact=position_is_exact,
        estimated_start_seconds=estimated_start_seconds,
        result=job.result,
        artifacts=[artifact_view(artifact, links) for artifact in job.artifacts],
        error=_error_view(job.failure),
        metadata=job.metadata,
        batch_id=job.batch_id,
        cancel_requested=job.cancel_requested_at is not None,
        last_seq=job.last_seq,
        urls=links.job(job.id),
    )


def event_view(event: JobEvent) -> EventView:
    """Return the view of an event."""
    return EventView(event.seq, event.type, event.at, event.data)


def delivery_view(delivery: Delivery) -> DeliveryView:
    """Return the view of a delivery."""
    return DeliveryView(
        door=delivery.door,
        seq=delivery.seq,
        due_at=delivery.due_at,
        failures=delivery.failures,
        failing_since=delivery.failing_since,
        given_up=delivery.given_up,
        tries=[TryView(one.at, one.seq, one.status, one.error, one.seconds) for one in delivery.tries],
    )


def task_view(task: TaskInfo, model: ModelInfo) -> TaskView:
    """Return the view of a task."""
    return TaskView(
        task.name,
        task.summary,
        model.name,
        task.input_schema,
        task.output_schema,
        task.example,
        task.batch,
        task.streams,
        task.serves,
    )


def model_view(name: str, info: ModelInfo | None, found: ComponentSnapshot | None, workers: list[str]) -> ModelView:
    """Return the view of a model: what is known of it, and how it stands where workers have it."""
    tasks = [task.name for task in info.tasks] if info else []
    estimate, failure = (found.estimate, found.failure) if found else (None, None)
    return ModelView(
        id=name,
        serves=sorted({task.serves for task in info.tasks if task.serves}) if info else [],
        name=name,
        version=info.version if info else None,
        ready=found is not None and found.status.can_serve,
        state=found.status.value if found else "offline",
        progress=found.percent if found else 0.0,
        estimated_seconds=math.ceil(estimate.p50_seconds) if estimate else None,
        error=failure.error if failure else None,
        workers=workers,
        tasks=tasks,
    )


def worker_view(record: WorkerRecord, models: frozenset[str], outstanding: int) -> WorkerView:
    """Return the view of a worker."""
    return WorkerView(
        instance_id=record.instance_id,
        status=record.status,
        last_seen=record.last_seen,
        url=record.url,
        models=sorted(models),
        load_time_seconds=record.load_time_seconds,
        error=record.error,
        outstanding=outstanding,
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    seconds = None if attempt.ended_at is None else (attempt.ended_at - attempt.started_at).total_seconds()
    return AttemptView(
        attempt.number,
        attempt.worker_id,
        attempt.started_at,
        attempt.ended_at,
        seconds,
        attempt.outcome.value if attempt.outcome else None,
        _error_view(attempt.failure),
    )


def _error_view(failure: Failure | None) -> ErrorView | None:
    if failure is None:
        return None
    return ErrorView(failure.code, failure.message, failure.retryable, failure.details)


def _progress_view(progress: Progress | None, links: Links) -> ProgressView | None:
    if progress is None:
        return None
    preview = progress.preview
    url = links.artifact(preview.removeprefix(SCHEME)) if preview else None
    return ProgressView(progress.done, progress.total, progress.percent, progress.note, preview, url)
