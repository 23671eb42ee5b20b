"""What callers do with jobs: submit, look, cancel, retry; and how long a queued one may have to wait."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from glowplug.artifact import is_folder, named_in
from glowplug.clock import Clock
from glowplug.errors import DiskFull, InvalidInput, NotFound, TooLarge, Unauthorized, UserError
from glowplug.gateway import data_urls
from glowplug.gateway.catalog import Catalog, budget_of, model_of
from glowplug.gateway.ledger import Ledger, last_run_seconds
from glowplug.gateway.policy import GatewayPolicy
from glowplug.gateway.quotas import Quotas
from glowplug.gateway.schemas import JobView, Links, Submit, job_view
from glowplug.gateway.shelf import Shelf
from glowplug.gateway.signing import LinkSigner
from glowplug.gateway.subjects import Subject
from glowplug.job import Attempt, Follower, Job, JobRequest, JobState, OutcomeKind
from glowplug.readiness import ComponentSnapshot, MergedBoard
from glowplug.store import Depth, Store, Submission

RUNS_REMEMBERED = 50
RUNS_TO_EARN = 3
LONGEST_KEY = 200
LONGEST_WEBHOOK = 2000
DEPTHS_KEPT_SECONDS = 1.0
FARTHEST_PLACE = 10_000


class RunTimes:
    """How long the last runs of each task took."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RUNS_REMEMBERED))

    def learn(self, job: Job) -> None:
        """Remember a completed run."""
        last: Attempt | None = job.attempts[-1] if job.attempts else None
        seconds = last_run_seconds(job)
        if last is not None and last.outcome is OutcomeKind.COMPLETED and seconds is not None:
            self._seconds[job.task].append(seconds)

    def median_seconds(self, task: str) -> float | None:
        """Return the usual run time, None until enough runs were seen."""
        known = self._seconds.get(task, ())
        return statistics.median(known) if len(known) >= RUNS_TO_EARN else None


def start_seconds(position: int, free: int, slots: int, run_seconds: float | None) -> float | None:
    """Return when the job with `position` others ahead is likely to start; None while that is anybody's guess.

    `free` of `slots` can take a job now; a busy slot is taken to be half through its run.
    """
    if position < free:
        return 0.0
    if slots <= 0 or run_seconds is None:
        return None
    waves = math.ceil((position + 1 - free) / slots)
    return round((waves - 0.5) * run_seconds, 1)


class Jobs:
    """The callers' side of the jobs.

    `free_slots` says how many jobs of a task the workers would take now; `has_room` whether there is disk for more;
    `followers` says who is told of a new job.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        catalog: Catalog,
        shelf: Shelf,
        board: MergedBoard,
        clock: Clock,
        policy: GatewayPolicy,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._catalog = catalog
        self.shelf = shelf
        self._board = board
        self._clock = clock
        self._policy = policy
        self._quotas = Quotas(store, clock, policy)
        self._depths: Mapping[str, Depth] = {}
        self._depths_until = 0.0
        self.links = Links(policy.public_url, LinkSigner.of(policy.access, clock))
        self.run_times = RunTimes()
        self.free_slots: Callable[[str], int] = lambda task: 0
        self.has_room: Callable[[], bool] = lambda: True
        self.followers: Callable[[JobRequest], tuple[Follower, ...]] = lambda request: ()

    async def submit(
        self,
        wishes: Sequence[Submit],
        *,
        subject: Subject,
        key: str | None = None,
        batch_id: str | None = None,
    ) -> list[Submission]:
        """Queue all the jobs or none, once checked, as those of `subject`.

        Raises:
            InvalidInput, UnknownTask, TooLarge: a job is wrong; with several, the message says which.
            IdempotencyMismatch: the key was used with another request.
            RateLimited: the owner has submitted as many as is allowed.
            DiskFull: there is no room for more work.
        """
        self._check_room()
        if not subject.owner:
            raise Unauthorized("a token is needed to submit jobs: Authorization: Bearer TOKEN")
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise InvalidInput(f"Idempotency-Key takes 1 to {LONGEST_KEY} characters")
        requests = (
            [await self._request(wish, key, subject) for wish in wishes]
            if batch_id is None
            else await self._batch(wishes, key, batch_id, subject)
        )
        async with self._quotas.admitted(requests):
            return await self._ledger.submit(requests)

    async def view(self, job: Job) -> JobView:
        """Return the job's view, with its place in the queue."""
        if job.state is not JobState.QUEUED:
            return job_view(job, self.links)
        position = await self._store.position(job.id, limit=FARTHEST_PLACE + 1)
        if position is None:
            # It was claimed in between.
            return job_view(await self._store.job(job.id), self.links)
        exact, position = position <= FARTHEST_PLACE, min(position, FARTHEST_PLACE)
        estimate = await self._estimate(job, position)
        return job_view(job, self.links, position=position, position_is_exact=exact, estimated_start_seconds=estimate)

    async def _estimate(self, job: Job, position: int) -> float | None:
        if job.run_at > self._clock.now():
            return None
        free = self.free_slots(job.task)
        if position < free:
            return 0.0
        usual = self.run_times.median_seconds(job.task)
        model = self._board.snapshot().find(model_of(job.task))
        if model is not None and not model.status.can_serve:
            return _once_loaded(model, position, usual)
        if usual is None:
            return None
        running = await self._running(job.task)
        return start_seconds(position, free, free + running, usual)

    async def _running(self, task: str) -> int:
        now = self._clock.monotonic()
        if now >= self._depths_until:
            self._depths, self._depths_until = await self._store.depths(), now + DEPTHS_KEPT_SECONDS
        depth = self._depths.get(task)
        return depth.running if depth else 0

    def check_size(self, input_json: bytes, where: str = "") -> None:
        """Raise `TooLarge` for an input beyond the limit; `where` goes before the message."""
        limit = self._policy.limits.input_bytes
        if len(input_json) > limit:
            raise TooLarge(
                f"{where}the input is larger than {limit} bytes; upload the data as an artifact and send its reference",
                limit_bytes=limit,
            )

    def _check_room(self) -> None:
        if not self.has_room():
            raise DiskFull("the gateway's disk is nearly full: free some room, or run glowplug clean")

    async def _batch(
        self, wishes: Sequence[Submit], key: str | None, batch_id: str, subject: Subject
    ) -> list[JobRequest]:
        made = []
        for number, wish in enumerate(wishes):
            # A key belongs to one job: those of a batch share the caller's with their number behind it.
            own_key = None if key is None else f"{key}:{number}"
            try:
                made.append(await self._request(wish, own_key, subject, batch_id))
            except UserError as error:
                raise type(error)(f"jobs.{number}: {error.message}", **error.data) from error
        return made

    async def _request(
        self, wish: Submit, key: str | None, subject: Subject, batch_id: str | None = None
    ) -> JobRequest:
        await self._catalog.look_up(wish.task)
        task = self._catalog.check(wish.task, wish.input)
        schema = task.input_schema if task else {}
        await self.check_references(wish.input, schema, subject)
        given = await self._with_references(wish.input, schema, subject.owner)
        self._check_times(wish)
        _check_webhook(wish.webhook)
        request = JobRequest(
            task=wish.task,
            input=given,
            owner=subject.owner,
            key=key,
            priority=wish.priority,
            run_at=wish.run_at,
            webhook=wish.webhook,
            webhook_events=tuple(dict.fromkeys(wish.webhook_events)),
            metadata=wish.metadata,
            batch_id=batch_id,
            budget=budget_of(task),
            expires_at=wish.expires_at,
            stride=self._quotas.stride(subject.owner),
        )
        return replace(request, followers=self.followers(request))

    async def _with_references(
        self, value: Mapping[str, Any], schema: Mapping[str, Any], owner: str
    ) -> Mapping[str, Any]:
        """Store the bytes that were written into an input: rows, events and messages carry references alone."""
        stored = {}
        for text, url in data_urls.found(value, schema).items():
            key = url.key(owner, self._policy.access.worker_token)
            stored[text] = (await self.shelf.keep(key, url.data, url.media_type)).uri
        return data_urls.replaced(value, stored) if stored else value

    def _check_times(self, wish: Submit) -> None:
        _check_zone("run_at", wish.run_at)
        _check_zone("expires_at", wish.expires_at)
        if wish.expires_at is None:
            return
        if wish.expires_at <= self._clock.now() or (wish.run_at is not None and wish.expires_at <= wish.run_at):
            raise InvalidInput("expires_at has passed before the job could start", fields=[{"path": "expires_at"}])

    async def check_references(self, value: Any, schema: Mapping[str, Any], subject: Subject) -> None:
        """Return if the subject sees all the artifacts and folders that an input names. Raises `InvalidInput`."""
        for key in named_in(value, schema):
            try:
                await (self.shelf.check_folder if is_folder(key) else self.shelf.find)(key, subject)
            except NotFound as error:
                fix = "put files below it" if is_folder(key) else "upload it with PUT /v1/artifacts/NAME"
                raise InvalidInput(f"there is no artifact {key[:80]!r}; {fix} first", key=key[:200]) from error


def _once_loaded(model: ComponentSnapshot, position: int, usual: float | None) -> float | None:
    if model.estimate is None or (position and usual is None):
        return None
    return round(model.estimate.p50_seconds + position * (usual or 0.0), 1)


def _check_webhook(webhook: str | None) -> None:
    if webhook is not None and not _is_address(webhook):
        raise InvalidInput("webhook takes an http or https address", fields=[{"path": "webhook"}])


def _is_address(url: str) -> bool:
    # Python's parser drops line breaks and reads past spaces; whoever sends to the address later may not.
    if len(url) > LONGEST_WEBHOOK or not url.isascii() or any(letter <= " " or letter == "\x7f" for letter in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_zone(name: str, moment: datetime | None) -> None:
    if moment is not None and moment.utcoffset() is None:
        raise InvalidInput(f"{name} needs a time zone, such as a final Z", fields=[{"path": name}])
