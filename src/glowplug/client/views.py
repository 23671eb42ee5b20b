"""What the gateway answers, as frozen values. Fields that a newer gateway adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from glowplug.errors import LoadFailed

FAILED_STATUSES = frozenset({"error", "unavailable"})


class ArtifactView(Struct, frozen=True):
    """A stored file: `uri` is the stable reference, `url` a link to its bytes."""

    uri: str
    name: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    media_type: str = "application/octet-stream"
    url: str | None = None


class UploadPartView(Struct, frozen=True):
    """A part of an upload: `size_bytes` from `offset`, to be PUT at `url` while it is missing."""

    number: int
    offset: int
    size_bytes: int
    received: bool = False
    url: str | None = None


class UploadView(Struct, frozen=True):
    """An upload in parts, and which of them have arrived."""

    id: str
    parts: tuple[UploadPartView, ...] = ()

    @property
    def missing(self) -> tuple[UploadPartView, ...]:
        """Return the parts that have not arrived."""
        return tuple(part for part in self.parts if not part.received)


class ProgressView(Struct, frozen=True):
    """How far a running job says it is; `percent` is None while the total is unknown."""

    done: float = 0.0
    total: float | None = None
    percent: float | None = None
    note: str = ""
    preview: str | None = None
    preview_url: str | None = None


class JobView(Struct, frozen=True):
    """A job as it stood when the gateway answered."""

    id: str
    task: str
    state: str
    done: bool
    created_at: datetime
    input: dict[str, Any] = field(default_factory=dict)
    owner: str = "local"
    priority: int = 0
    run_at: datetime | None = None
    expires_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    run_seconds: float | None = None
    attempt: int = 0
    attempts: tuple[dict[str, Any], ...] = ()
    progress: ProgressView | None = None
    position: int | None = None
    estimated_start_seconds: float | None = None
    result: Any = None
    artifacts: tuple[ArtifactView, ...] = ()
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    batch_id: str | None = None
    cancel_requested: bool = False
    last_seq: int = 0
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Say whether the job has ended with a result."""
        return self.state == "completed"


class JobPage(Struct, frozen=True):
    """Some jobs, newest first, and the cursor of the next page (None at the end)."""

    jobs: tuple[JobView, ...] = ()
    next_cursor: str | None = None


class RedrivenView(Struct, frozen=True):
    """The failed jobs that were queued again, and whether more of them match."""

    redriven: tuple[str, ...] = ()
    more: bool = False


class BatchView(Struct, frozen=True):
    """Jobs that were submitted together."""

    batch_id: str
    jobs: tuple[JobView, ...] = ()


class EventView(Struct, frozen=True):
    """One entry of a job's log."""

    seq: int
    type: str
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)


class JobTimes(Struct, frozen=True):
    """When a job may start: not before `run_at`, and at `expires_at` it fails if nobody has started it."""

    run_at: datetime | None = None
    expires_at: datetime | None = None


class JobWebhook(Struct, frozen=True):
    """A URL that is told of a job, and the types of event that it is told; none named: the start and the end."""

    url: str
    events: tuple[str, ...] = ()


class DeliveryView(Struct, frozen=True):
    """How far a webhook or another door was told of a job: all up to `seq`. The rest is tried at `due_at`."""

    door: str
    seq: int = 0
    due_at: datetime | None = None
    failures: int = 0
    given_up: bool = False
    tries: tuple[dict[str, Any], ...] = ()

    @property
    def error(self) -> str:
        """Return what the last try failed with, the empty string if it was taken."""
        return str(self.tries[-1].get("error", "")) if self.tries else ""


class DeliveryList(Struct, frozen=True):
    """The deliveries of a job, by door."""

    deliveries: tuple[DeliveryView, ...] = ()


class ModelView(Struct, frozen=True):
    """A model over all its workers."""

    name: str
    version: str | None = None
    ready: bool = False
    state: str = ""
    progress: float | None = None
    estimated_seconds: float | None = None
    workers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Say whether it will not become ready by itself."""
        return self.state in FAILED_STATUSES


class TaskView(Struct, frozen=True):
    """A task and the JSON schemas of what goes in and comes out."""

    name: str
    summary: str = ""
    input_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    example: dict[str, Any] | None = None
    batch: int = 1
    streams: bool = False
    model: str = ""


class ModelPage(Struct, frozen=True):
    """All models."""

    models: tuple[ModelView, ...] = ()


class TaskPage(Struct, frozen=True):
    """All tasks."""

    tasks: tuple[TaskView, ...] = ()


class WorkerPage(Struct, frozen=True):
    """All workers, as the registry tells them."""

    workers: tuple[dict[str, Any], ...] = ()


class ReadyView(Struct, frozen=True):
    """The whole gateway's readiness: `services` by model name."""

    ready: bool
    state: str
    progress: float = 0
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    estimated_seconds: float | None = None
    message: str = ""
    errors: tuple[str, ...] = ()

    def serves(self, model: str | None) -> bool:
        """Say whether `model` is ready, or all that are required if it is None.

        Raises:
            LoadFailed: it will not become ready unless somebody acts.
        """
        if model is None:
            if self.state == "ERROR":
                raise LoadFailed("; ".join(self.errors) or self.message or "a load ended in an error; see the log")
            return self.ready
        service = self.services.get(model, {})
        if service.get("status") in FAILED_STATUSES:
            raise LoadFailed(f"{model}: {service.get('error') or service.get('reason') or 'its load failed'}")
        return bool(service.get("ready"))


class RetriedView(Struct, frozen=True):
    """The models whose loads were begun again."""

    retried: tuple[str, ...] = ()


class WarmUpView(Struct, frozen=True):
    """How one model's warm-up went; `error` names the workers where it did not."""

    warmup_time_ms: float | None = None
    error: str | None = None


class WarmedView(Struct, frozen=True):
    """How every model's warm-up went, by name."""

    services: dict[str, WarmUpView] = field(default_factory=dict)


class Result(Struct, frozen=True):
    """What a task returned, the files it saved, and its job (None for a direct call)."""

    output: Any
    artifacts: tuple[ArtifactView, ...] = ()
    job: JobView | None = None
