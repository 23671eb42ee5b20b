"""The store: jobs, their events, the workers and the models, behind one contract.

A store decides nothing: it loads a job, applies a transition of `job.py`, and saves it under a guard on token and
state. Times are the store's own clock; nobody else's is compared with a lease.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from glowplug.job import Job, JobEvent, JobRequest, JobState, Note, Outcome
from glowplug.lifecycle import Startable


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a request: its job, and whether it is new or was there under the same key."""

    job: Job
    created: bool


@dataclass(frozen=True, slots=True)
class Want:
    """What a ready model can take now: jobs of `tasks`, at most `slots` of them."""

    tasks: tuple[str, ...]
    slots: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A claim that somebody says is theirs: job id and token."""

    job_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to a renewal: whether the lease is still held, and whether the job should stop."""

    hold: Hold
    held: bool
    cancel: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Notes of one running attempt, guarded by its hold."""

    hold: Hold
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one attempt, guarded by its hold."""

    hold: Hold
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to a settlement: refused if the lease was lost. `job` is None only if there is no such job."""

    hold: Hold
    accepted: bool
    job: Job | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list; None means any. `key` is an idempotency key, asked for with its `owner`."""

    states: tuple[JobState, ...] | None = None
    task: str | None = None
    owner: str | None = None
    batch_id: str | None = None
    key: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, newest first, and the cursor of the next one (None at the end)."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of a task waits (`due` of it may run now) and runs; the age of the oldest due job, in seconds.

    `dispatched` of what waits has its hint at a broker.
    """

    queued: int = 0
    due: int = 0
    running: int = 0
    oldest_seconds: float = 0.0
    dispatched: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """Says that somebody wrote a job."""

    job_id: str
    task: str


@dataclass(frozen=True, slots=True)
class Try:
    """One try to tell a door something: when, up to which event, and the error if it was not taken."""

    at: datetime
    seq: int
    error: str = ""
    status: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far a door has been told of a job: all up to `seq`; the rest is due at `due_at` (None: nothing is).

    `failing_since` is when the first of the `failures` in a row happened. `tries` are the newest ones.
    """

    job_id: str
    door: str
    seq: int = 0
    due_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    given_up: bool = False
    tries: tuple[Try, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as the gateway knows it: schemas are JSON Schema, built in the model's own process.

    `on_new_version` is `restart` or `refuse`: what a checkpoint of another model version is worth. `serves` is the
    operation of another protocol that the task answers, if any.
    """

    name: str
    summary: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    batch: int = 1
    short: bool = False
    streams: bool = False
    errors: int = 3
    crashes: int = 3
    retry_base_seconds: float = 1.0
    retry_cap_seconds: float = 300.0
    timeout_seconds: float | None = None
    on_new_version: str = "restart"
    serves: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The last that was heard of a model: its version and tasks; kept while no worker has it up."""

    name: str
    version: str
    tasks: tuple[TaskInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker as the registry knows it. `status` is `loading`, `ready`, `error`, `draining` or `offline`.

    `snapshot` is the worker's readiness picture in the form of `Snapshot.to_dict`; `load_time_seconds` and `error`
    are those of its notices. `incarnation` changes with each start of the process. `sequence` is the number of its
    newest announcement and `gateway` who took that in; `slots` how many jobs of each model it runs at once.
    """

    instance_id: str
    incarnation: str = ""
    status: str = "loading"
    last_seen: datetime
    url: str | None = None
    model_name: str | None = None
    load_time_seconds: float | None = None
    error: str | None = None
    failed_probes: int = 0
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    sequence: int = -1
    gateway: str = ""
    slots: Mapping[str, int] = field(default_factory=dict)


class Store(Startable, ABC):
    """Contract of the store. Everything that has returned is durable.

    `shared` says whether several gateways may use one at the same time. Raises `Corrupt` and `SettingsError` on start
    for a store that cannot be used, `DiskFull` when there is no room, `Unreachable` when a remote one does not answer.
    """

    shared: bool = False

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        """Let `listener` hear, in the loop of `start`, of jobs that were written; call it before `start`.

        News of other gateways may come late or never, and own writes may be among them: who must not miss a change
        looks again now and then. A store of one gateway alone has nothing to tell.
        """

    # What callers make and read.

    @abstractmethod
    async def submit(self, requests: Sequence[JobRequest]) -> list[Submission]:
        """Queue all the requests or none, in one transaction.

        Raises:
            IdempotencyMismatch: an (owner, key) is there with another request; nothing is queued.
        """

    @abstractmethod
    async def job(self, job_id: str) -> Job:
        """Return a job. Raises `NotFound`."""

    @abstractmethod
    async def jobs(self, where: JobFilter, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """List jobs, newest first. Raises `InvalidInput` for a cursor that is not one of ours."""

    @abstractmethod
    async def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Return the events with a `seq` above `after`, in order; none for an unknown job."""

    @abstractmethod
    async def position(self, job_id: str, *, limit: int = 10_000) -> int | None:
        """Return how many due jobs of the same task are ahead (0 is next), at most `limit`; None if not queued.

        Of a job for later: how many would be, if it were due now and at the end of the line.
        """

    @abstractmethod
    async def nth_newest(self, owner: str, n: int, *, task: str | None = None) -> datetime | None:
        """Return when the owner's `n`-th newest job (1 is the newest) was made, of `task` or all; None if none is."""

    @abstractmethod
    async def depths(self) -> dict[str, Depth]:
        """Return the depth of every task that has queued or running jobs."""

    # What workers and their keepers do.

    @abstractmethod
    async def claim(
        self, worker_id: str, wants: Sequence[Want], lease: timedelta, *, only: Collection[str] | None = None
    ) -> list[Job]:
        """Hand due jobs to a worker: by priority (high first), then `turn`, then id. Two claims never share a job.

        With `only`, none but the jobs of these ids, whatever their place; then no other job is given its turn. A job
        past its `expires_at` is left alone.
        """

    @abstractmethod
    async def expire(self, *, limit: int = 100) -> list[Job]:
        """End queued jobs whose `expires_at` has come; return them."""

    @abstractmethod
    async def undispatched(self, tasks: Collection[str], *, limit: int) -> list[Job]:
        """Return the due jobs of `tasks` whose hint no broker has, in the order of a claim."""

    async def dispatched(self, tasks: Collection[str]) -> int:
        """Return how many queued jobs of `tasks` have their hint at a broker; asked often, so better than counting."""
        depths = await self.depths()
        return sum(depths[task].dispatched for task in tasks if task in depths)

    @abstractmethod
    async def mark_dispatched(self, job_ids: Collection[str]) -> None:
        """Say that a broker has taken the hints of these jobs; of those that no longer wait nothing is noted."""

    @abstractmethod
    async def mark_lost(self, tasks: Collection[str], dispatched_before: datetime) -> int:
        """Take the mark from queued jobs of `tasks` dispatched before then, so that they are again; return how many."""

    @abstractmethod
    async def renew(self, holds: Sequence[Hold], lease: timedelta) -> list[Renewal]:
        """Extend the leases that are still held."""

    @abstractmethod
    async def note(self, reports: Sequence[Report]) -> list[bool]:
        """Append what running attempts report; False for each hold that is lost, whose notes are dropped."""

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """End attempts; a repeat of the last settlement is accepted again and changes nothing."""

    @abstractmethod
    async def held_by(self, worker_id: str) -> list[Hold]:
        """List the holds of a worker, of all its incarnations."""

    @abstractmethod
    async def expired(self, *, limit: int = 100) -> list[Hold]:
        """List the holds whose lease has run out."""

    @abstractmethod
    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; a queued one is canceled at once. Raises `NotFound`, `Conflict`."""

    @abstractmethod
    async def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again. Raises `NotFound`, `Conflict`."""

    @abstractmethod
    async def next_due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return the seconds until the next queued job of `tasks` becomes due (0 if one is), None if none waits."""

    @abstractmethod
    async def clean(self, finished_before: datetime, *, limit: int = 500) -> list[Job]:
        """Delete ended jobs and their events; return what was deleted, for the sweep of their artifacts."""

    # What doors are told.

    @abstractmethod
    async def undelivered(self, door: str, *, limit: int = 100) -> list[Delivery]:
        """Return the deliveries of `door` that are due, the longest due first.

        One is due as soon as an event was written that the job's follower wants, in the same transaction.
        """

    @abstractmethod
    async def next_delivery_seconds(self, door: str) -> float | None:
        """Return the seconds until the next delivery of `door` is due (0 if one is), None if there is none."""

    @abstractmethod
    async def save_deliveries(self, told: Sequence[Delivery]) -> None:
        """Write how far doors were told, over what is there.

        One with `due_at` None stays due if an event above its `seq` that its follower wants was written meanwhile.
        Those of jobs that are gone are left out. Of `tries`, the newest 20 are kept.
        """

    @abstractmethod
    async def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job, by door."""

    # Several gateways.

    @abstractmethod
    async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
        """Become or stay the one who does `duty` until `term` from now; False while somebody else is."""

    @abstractmethod
    async def resign(self, duty: str, holder: str) -> None:
        """Let somebody else lead at once; of a duty that is not the holder's nothing changes."""

    # The registry of workers and models.

    @abstractmethod
    async def save_worker(self, record: WorkerRecord) -> None:
        """Write a worker's record over the one with the same `instance_id`."""

    @abstractmethod
    async def workers(self) -> list[WorkerRecord]:
        """Return all workers, by `instance_id`."""

    async def worker(self, instance_id: str) -> WorkerRecord | None:
        """Return a worker, None for one that is not there; asked before each claim where several gateways are."""
        return next((record for record in await self.workers() if record.instance_id == instance_id), None)

    @abstractmethod
    async def forget_worker(self, instance_id: str) -> None:
        """Delete a worker's record; an absent one is fine."""

    @abstractmethod
    async def save_model(self, info: ModelInfo) -> None:
        """Write a model's info over the one with the same name."""

    @abstractmethod
    async def models(self) -> list[ModelInfo]:
        """Return all models, by name."""
