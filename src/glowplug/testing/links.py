"""Conformance suite of `Link`.

A test module makes a subclass of `LinkSuite` whose fixture `far` yields the two ends: a started link, and what lies
behind the desk that it leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from glowplug.artifact import Artifact
from glowplug.broker import Broker, Hint
from glowplug.clock import SystemClock
from glowplug.job import Checkpoint, Failure, Job, JobRequest, JobState, Note, Outcome, OutcomeKind, Progress
from glowplug.link import Claim, Claimed, Events, Finish, Grant, Link, Order, OrderKind, Register, Renew
from glowplug.readiness import Board
from glowplug.store import Hold, ModelInfo, Report, Settlement, Store, TaskInfo, Want

SECONDS = 30.0
TASK = "echo.say"
SAY = TaskInfo(TASK, "Says it again", {"type": "object"}, {"type": "string"}, example={"text": "höflich"}, batch=4)
ECHO = ModelInfo("echo", "2", (SAY, TaskInfo("echo.sing")))
ARTIFACT = Artifact("jobs/x/1/checkpoints/3", 10, "0" * 64, "image/png")


@dataclass(frozen=True, slots=True)
class FarEnd:
    """A link and what it leads to. `order` gives a worker an order; leases last `lease_seconds`."""

    link: Link
    store: Store
    broker: Broker
    order: Callable[[str, Order], None]
    lease_seconds: float


class Player:
    """A worker played by hand."""

    def __init__(self, far: FarEnd, name: str = "w1", incarnation: str = "i1") -> None:
        self._far = far
        self._name = name
        self._incarnation = incarnation
        self._sequence = 0
        self._board = Board(SystemClock())
        self._component = self._board.add("echo", model="echo")

    async def register(self, *, sequence: int | None = None) -> float:
        """Announce the board as it stands; return how long leases last."""
        self._sequence = self._sequence + 1 if sequence is None else sequence
        message = Register(
            instance_id=self._name,
            incarnation=self._incarnation,
            sequence=self._sequence,
            snapshot=self._board.snapshot().to_dict(),
            models=(ECHO,),
            url="http://127.0.0.1:9",
            pid=7,
            host="here",
        )
        return (await self._far.link.register(message)).lease_seconds

    async def ready(self) -> Player:
        """Become ready and say so."""
        self._component.begin()
        self._component.ready()
        await self.register()
        return self

    async def claim(
        self, slots: int = 1, *, wait_seconds: float = 0.0, known: tuple[Hold, ...] | None = None
    ) -> Claimed:
        """Ask for jobs of the usual task; with no slots, for orders alone."""
        wants = (Want((TASK,), slots),) if slots else ()
        return await self._far.link.claim(Claim(self._name, self._incarnation, wants, wait_seconds, known))

    async def one(self) -> Grant:
        """Claim the job that is due."""
        (grant,) = (await self.claim()).grants
        return grant

    async def renew(self, *holds: Hold) -> tuple[list[tuple[bool, bool]], tuple[Order, ...]]:
        """Renew, and return what is held, what is to be canceled, and the orders."""
        renewed = await self._far.link.renew(Renew(self._name, self._incarnation, holds))
        return [(one.held, one.cancel) for one in renewed.renewals], renewed.orders

    async def note(self, hold: Hold, *notes: Note) -> bool:
        """Report notes; say whether they were taken."""
        (accepted,) = (await self._far.link.events(Events(self._name, (Report(hold, notes),)))).accepted
        return accepted

    async def finish(self, hold: Hold, kind: OutcomeKind = OutcomeKind.COMPLETED, **fields: Any) -> bool:
        """End an attempt; say whether that was taken."""
        settlement = Settlement(hold, Outcome(kind, **fields))
        (accepted,) = (await self._far.link.finish(Finish(self._name, (settlement,)))).accepted
        return accepted


class LinkSuite:
    """What every link does."""

    @pytest.fixture(autouse=True)
    async def bounded(self) -> AsyncIterator[None]:
        """Let no test wait for ever."""
        async with asyncio.timeout(SECONDS):
            yield

    @pytest.fixture
    async def worker(self, far: FarEnd) -> Player:
        """Return a worker whose model is ready."""
        return await Player(far).ready()

    # Announcing.

    async def test_an_announcement_is_kept_whole_and_answered_with_the_length_of_leases(self, far: FarEnd) -> None:
        assert await Player(far).register() == far.lease_seconds
        (record,) = await far.store.workers()
        assert (record.instance_id, record.incarnation, record.models) == ("w1", "i1", ("echo",))
        assert (record.url, record.status) == ("http://127.0.0.1:9", "loading")
        assert await far.store.models() == [ECHO]

    async def test_a_late_announcement_does_not_undo_a_newer_one(self, far: FarEnd, worker: Player) -> None:
        del worker
        late = Player(far)
        await late.register(sequence=1)
        (record,) = await far.store.workers()
        assert record.status == "ready"

    async def test_a_worker_that_nobody_knows_is_asked_to_announce_itself(self, far: FarEnd) -> None:
        claimed = await Player(far).claim(wait_seconds=20)
        assert Order(OrderKind.REGISTER) in claimed.orders

    # Claiming.

    async def test_a_due_job_is_granted_at_once_and_arrives_whole(self, far: FarEnd, worker: Player) -> None:
        said = {"text": "höflich\n", "n": 2**40, "deep": [1.5, None, {"x": True}]}
        job = await queue(far, input=said, owner="ann")
        grant = await worker.one()
        assert (grant.hold, grant.task, dict(grant.input)) == (Hold(job.id, 1), TASK, said)
        assert (grant.attempt, grant.owner, grant.checkpoint) == (1, "ann", None)
        assert grant.lease_until.tzinfo is not None
        assert grant.lease_until > datetime(2020, 1, 1, tzinfo=UTC)

    async def test_a_claim_gets_no_more_than_it_asks_for(self, far: FarEnd, worker: Player) -> None:
        await queue(far, count=5)
        assert len((await worker.claim(slots=3)).grants) == 3
        assert len((await worker.claim(slots=3)).grants) == 2

    async def test_a_claim_without_work_ends_empty_when_its_time_is_up(self, worker: Player) -> None:
        assert await worker.claim(wait_seconds=0.05) == Claimed()

    async def test_a_claim_that_waits_is_answered_when_work_comes(self, far: FarEnd, worker: Player) -> None:
        waiting = asyncio.create_task(worker.claim(wait_seconds=25))
        await settled(waiting)
        job = await queue(far)
        assert [grant.hold.job_id for grant in (await waiting).grants] == [job.id]

    async def test_a_newer_claim_of_the_same_worker_ends_the_older_one(self, far: FarEnd, worker: Player) -> None:
        older = asyncio.create_task(worker.claim(wait_seconds=25))
        await settled(older)
        newer = asyncio.create_task(worker.claim(wait_seconds=25))
        assert (await older).grants == ()
        await queue(far)
        assert len((await newer).grants) == 1

    async def test_a_claim_that_wants_nothing_brings_orders_and_no_job(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        waiting = asyncio.create_task(worker.claim(slots=0, wait_seconds=25))
        await settled(waiting)
        far.order("w1", Order(OrderKind.DRAIN))
        assert await waiting == Claimed(orders=(Order(OrderKind.DRAIN),))

    async def test_no_job_is_granted_for_a_model_that_has_not_been_announced_ready(self, far: FarEnd) -> None:
        loading = Player(far)
        await loading.register()
        await queue(far)
        assert await loading.claim(wait_seconds=0.05) == Claimed()

    async def test_a_grant_that_never_arrived_is_free_again_uncounted(self, far: FarEnd, worker: Player) -> None:
        job = await queue(far)
        await worker.one()
        again = await worker.claim(known=())
        assert [grant.hold for grant in again.grants] == [Hold(job.id, 2)]
        found = await far.store.job(job.id)
        assert (found.spent.crashes, found.spent.errors) == (0, 0)

    async def test_a_grant_that_is_known_is_not_released(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        assert await worker.claim(known=(hold,)) == Claimed()
        assert await worker.renew(hold) == ([(True, False)], ())

    async def test_two_workers_never_get_the_same_job(self, far: FarEnd, worker: Player) -> None:
        other = await Player(far, "w2").ready()
        await queue(far, count=20)
        grants = [one.hold for who in (worker, other) * 4 for one in (await who.claim(slots=3)).grants]
        assert len(grants) == len(set(grants)) == 20

    # Keeping.

    async def test_a_renewal_says_for_each_hold_whether_it_is_held(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        assert (await worker.renew(hold, Hold(hold.job_id, 9), Hold("nobody", 1)))[0] == [
            (True, False),
            (False, False),
            (False, False),
        ]

    async def test_a_canceled_job_says_so_with_its_renewal(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        await far.store.cancel(hold.job_id)
        assert (await worker.renew(hold))[0] == [(True, True)]

    async def test_an_order_comes_with_a_renewal_too_and_only_once(self, far: FarEnd, worker: Player) -> None:
        far.order("w1", Order(OrderKind.LOAD, "echo"))
        assert (await worker.renew())[1] == (Order(OrderKind.LOAD, "echo"),)
        assert (await worker.renew())[1] == ()

    # Reporting.

    async def test_notes_are_written_to_the_log_of_the_job(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        progress = Progress(3, 10, "epoch 3", "artifact:jobs/x/1/preview.png")
        notes = (
            Note("metrics", {"loss": 0.25}),
            Note("progress", {"percent": 30.0}, progress=progress),
            Note("checkpoint", {"step": 3}, checkpoint=Checkpoint(3, ARTIFACT, "2")),
        )
        assert await worker.note(hold, *notes)
        job = await far.store.job(hold.job_id)
        assert (job.progress, job.checkpoint) == (progress, Checkpoint(3, ARTIFACT, "2"))
        log = await far.store.events(hold.job_id)
        assert [(one.seq, one.type) for one in log[2:]] == [(3, "metrics"), (4, "progress"), (5, "checkpoint")]

    async def test_a_checkpoint_comes_with_the_next_grant(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        assert await worker.note(hold, Note("checkpoint", checkpoint=Checkpoint(3, ARTIFACT, "2")))
        assert await worker.finish(hold, OutcomeKind.INTERRUPTED)
        assert (await worker.one()).checkpoint == Checkpoint(3, ARTIFACT, "2")

    async def test_notes_of_a_lost_lease_are_refused(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        assert not await worker.note(Hold(hold.job_id, hold.token + 1), Note("metrics", {"loss": 1.0}))

    # Ending.

    async def test_a_result_arrives_whole(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        picture = Artifact(f"jobs/{hold.job_id}/{hold.token}/picture 1.png", 3, "f" * 64, "image/png")
        result = {"label": "sieben", "image": picture.uri, "scores": [0.1, 1e-9]}
        assert await worker.finish(hold, result=result, artifacts=(picture,))
        job = await far.store.job(hold.job_id)
        assert (job.state, job.result, job.artifacts) == (JobState.COMPLETED, result, (picture,))

    async def test_a_failure_arrives_whole(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        failure = Failure("ValueError", "no such number", retryable=False, details={"fields": ["n"]})
        assert await worker.finish(hold, OutcomeKind.FAILED, failure=failure)
        job = await far.store.job(hold.job_id)
        assert (job.state, job.failure) == (JobState.FAILED, failure)

    async def test_the_same_end_may_be_told_twice(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        assert [await worker.finish(hold, result=1), await worker.finish(hold, result=1)] == [True, True]
        log = await far.store.events(hold.job_id)
        assert [one.type for one in log] == ["queued", "started", "completed"]

    async def test_an_end_of_a_lost_lease_is_refused(self, far: FarEnd, worker: Player) -> None:
        await queue(far)
        hold = (await worker.one()).hold
        await worker.finish(hold, OutcomeKind.INTERRUPTED)
        await worker.one()
        assert not await worker.finish(hold, result=1)

    async def test_many_ends_are_answered_one_by_one(self, far: FarEnd, worker: Player) -> None:
        await queue(far, count=3)
        holds = [grant.hold for grant in (await worker.claim(slots=3)).grants]
        wrong = Hold(holds[1].job_id, 99)
        ends = tuple(Settlement(hold, Outcome(OutcomeKind.COMPLETED)) for hold in (holds[0], wrong, holds[2]))
        assert (await far.link.finish(Finish("w1", ends))).accepted == (True, False, True)


async def queue(far: FarEnd, count: int = 1, **fields: Any) -> Job:
    """Queue jobs of the usual task, hint at them, and return the last."""
    requests = [JobRequest(**({"task": TASK, "input": {"n": n}} | fields)) for n in range(count)]
    jobs = [submission.job for submission in await far.store.submit(requests)]
    await far.broker.publish([Hint(job.id, job.task) for job in jobs])
    return jobs[-1]


async def settled(waiting: asyncio.Task[Claimed]) -> None:
    """Give a claim the time to reach the desk and wait there; it must not be answered by then."""
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done, waiting.result()
