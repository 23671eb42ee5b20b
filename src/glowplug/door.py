"""The door: another way in and out than HTTP. Messages come in as jobs, and events go out to those who follow them.

What goes out is at least once: the store remembers how far each door was told of each job, and a door that fails is
told again. `(job_id, seq)` names an event for good, so a receiver can leave out what it has seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from glowplug.job import Follower, Job, JobEvent, JobRequest
from glowplug.lifecycle import Startable
from glowplug.store import Submission, WorkerRecord

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job that somebody behind a door asks for. `key` is the idempotency key of this `owner`."""

    task: str
    input: Mapping[str, Any]
    owner: str
    key: str | None = None
    priority: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Reception(Protocol):
    """What a door may ask of the gateway."""

    def knows(self, task: str) -> bool:
        """Say whether some worker has ever told of this task."""

    async def submit(self, wish: Wish) -> Submission:
        """Queue a job, checked as one that came over HTTP.

        Raises `UserError` for what is wrong with it and will stay so, any other `GlowplugError` for what may pass.
        """

    async def job(self, job_id: str) -> Job:
        """Return a job. Raises `NotFound`."""

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Return the job's events above `after`, in order, at most 500; none for an unknown job."""

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Raises `NotFound`, `Conflict`."""

    async def place(self, key: str, target: str) -> None:
        """Lay a copy of an artifact at `target`, outside of the folders that the platform keeps.

        What is newer there than the artifact stays: it was copied before, or belongs to somebody who came later.
        Raises `NotFound` for an artifact that is no more, and not at `target` either, `InvalidInput` for a place that
        cannot be, any other `GlowplugError` for what may pass.
        """

    async def tell_again(self, job_id: str, door: str) -> None:
        """Have the job's last event told to `door` once more. Raises `NotFound`."""

    def workers(self) -> Sequence[WorkerRecord]:
        """Return the workers that are known here."""

    def follow_workers(self, listener: Callable[[WorkerRecord], None]) -> None:
        """Let `listener` hear of each worker whose record has changed."""


@dataclass(frozen=True, slots=True)
class Told:
    """How far a door got: `seq` of the last event that was taken, and the error if that was not all.

    `retry_after_seconds` is the least pause before the next try; `gone` says that there shall be none.
    """

    seq: int
    error: str = ""
    status: int | None = None
    retry_after_seconds: float = 0.0
    gone: bool = False


class Door(Startable, ABC):
    """Contract of a door. `welcome` comes before `start`; a door that nobody listens at starts all the same.

    `name` is unique and stands in the store: who renames a door makes it forget. Events that were not taken after
    `patience_seconds` are given up; between two tries there are at most `longest_pause_seconds`.
    """

    name: ClassVar[str]
    patience_seconds: ClassVar[float] = DAY_SECONDS
    longest_pause_seconds: ClassVar[float] = 30.0

    @abstractmethod
    def welcome(self, reception: Reception) -> None:
        """Hand the door what it may ask of the gateway."""

    @abstractmethod
    def follower(self, request: JobRequest) -> Follower | None:
        """Return which events of a new job this door wants to be told, None for none of them.

        Raises `InvalidInput` for a job whose events could not be told as it asks.
        """

    def target(self, job: Job) -> str:
        """Return who is told, so that a slow one holds up nobody else; the empty string: always the same one."""
        del job
        return ""

    @abstractmethod
    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Hand over events, in order, and return how far it got; what was taken is durable at the other side.

        A door that stops early without an error is told the rest at once.
        """


def cloud_event(job: Job, event: JobEvent, source: str) -> dict[str, Any]:
    """Return an event as CloudEvents 1.0 JSON. `source` is the gateway's URL, or `/` and a name."""
    about = {"job_id": job.id, "task": job.task, "owner": job.owner, "seq": event.seq}
    return {
        "specversion": "1.0",
        "id": f"{job.id}:{event.seq}",
        "source": source,
        "type": f"glowplug.job.{event.type}",
        "subject": job.id,
        "time": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        # First so that people find it, and again so that no metric of a task's own can stand in its place.
        "data": {**about, **event.data, **about},
    }


def plain_timestamp(at: datetime) -> str:
    """Return a time as the message contract writes it: ISO 8601 in UTC with microseconds and without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
