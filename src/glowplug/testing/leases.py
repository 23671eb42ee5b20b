"""Conformance suite of `Store`: what workers and their keepers do. It is part of `StoreSuite`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from glowplug.artifact import Artifact
from glowplug.clock import ManualClock
from glowplug.job import Budget, Checkpoint, Failure, JobState, Note, Outcome, OutcomeKind, Progress, Spent
from glowplug.store import Hold, Renewal, Report, Settlement, Store, Want
from glowplug.testing.work import LEASE, TASK, claim, complete, fail_for_good, hold_of, queue, request, settle, types

SECONDS = 60.0
CHECKPOINT = Checkpoint(3, Artifact("jobs/1/1/checkpoint-3", 10, "0" * 64), "2")


class LeaseSuite:
    """What every store does for workers."""

    @pytest.fixture(autouse=True)
    async def bounded(self) -> AsyncIterator[None]:
        """Let no test wait for ever."""
        async with asyncio.timeout(SECONDS):
            yield

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock that the store goes by."""
        return ManualClock()

    # Claiming.

    async def test_a_claim_gives_the_job_a_token_an_attempt_and_a_lease(self, store: Store, clock: ManualClock) -> None:
        made = await queue(store)
        (job,) = await claim(store, worker="w7")
        assert (job.id, job.state, job.token, job.attempt) == (made.id, JobState.RUNNING, 1, 1)
        assert (job.worker_id, job.lease_until) == ("w7", clock.now() + LEASE)
        assert (job.started_at, job.attempts[0].worker_id) == (clock.now(), "w7")
        assert await store.job(job.id) == job
        assert await types(store, job.id) == ["queued", "started"]

    async def test_high_priority_goes_first_then_who_came_first(self, store: Store, clock: ManualClock) -> None:
        low = await queue(store, priority=-1)
        twins = [submission.job.id for submission in await store.submit([request(), request()])]
        urgent = await queue(store, priority=2)
        await clock.advance(1)
        last = await queue(store)
        urgent_too = await queue(store, priority=2)
        order = [job.id for job in await claim(store, slots=10)]
        assert order == [urgent.id, urgent_too.id, *twins, last.id, low.id]

    async def test_a_claim_takes_no_more_than_its_slots(self, store: Store) -> None:
        await store.submit([request() for _ in range(5)])
        assert [len(await claim(store, slots=slots)) for slots in (0, -1, 2, 9)] == [0, 0, 2, 3]

    async def test_slots_are_shared_by_the_tasks_of_a_want(self, store: Store, clock: ManualClock) -> None:
        for task in ("m.a", "m.b", "m.a", "m.b"):
            await queue(store, task=task)
            await clock.advance(1)
        assert [job.task for job in await claim(store, "m.b", "m.a", "m.b", slots=3)] == ["m.a", "m.b", "m.a"]

    async def test_each_want_has_its_own_slots(self, store: Store) -> None:
        await store.submit([request(task=task) for task in ("m.a", "m.a", "n.b", "n.b")])
        jobs = await store.claim("w1", [Want(("m.a",), 1), Want(("n.b",), 2), Want(("m.a",), 5)], LEASE)
        assert [job.task for job in jobs] == ["m.a", "n.b", "n.b", "m.a"]
        assert len({job.id for job in jobs}) == 4

    async def test_other_tasks_are_left_alone(self, store: Store) -> None:
        job = await queue(store, task="m.a")
        assert await claim(store, "m.b", "m", "m.a.b", "M.A") == []
        assert await store.claim("w1", [], LEASE) == []
        assert await store.job(job.id) == job

    async def test_a_job_for_later_is_not_claimed_before_its_time(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, run_at=clock.now() + timedelta(seconds=10))
        await clock.advance(9.999)
        assert await claim(store) == []
        await clock.advance(0.001)
        assert [claimed.id for claimed in await claim(store)] == [job.id]

    async def test_urgent_jobs_for_later_do_not_hide_what_is_due(self, store: Store, clock: ManualClock) -> None:
        later = clock.now() + timedelta(hours=1)
        await store.submit([request(priority=priority, run_at=later) for priority in (9, 9, 5, 1)])
        due = [(await queue(store, priority=priority)).id for priority in (7, 5, 0)]
        assert [job.id for job in await claim(store, slots=5)] == due

    async def test_two_claims_at_once_never_share_a_job(self, store: Store) -> None:
        await store.submit([request() for _ in range(200)])
        claims = await asyncio.gather(*(claim(store, slots=3, worker=f"w{number}") for number in range(100)))
        taken = [job.id for jobs in claims for job in jobs]
        assert len(taken) == len(set(taken)) == 200

    # Leases.

    async def test_a_renewal_extends_the_lease_from_now(self, store: Store, clock: ManualClock) -> None:
        await queue(store)
        (job,) = await claim(store)
        await clock.advance(20)
        assert await store.renew([hold_of(job)], LEASE) == [Renewal(hold_of(job), held=True, cancel=False)]
        assert (await store.job(job.id)).lease_until == clock.now() + LEASE
        assert await types(store, job.id) == ["queued", "started"]

    async def test_a_renewal_tells_that_the_job_should_stop(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        assert (await store.cancel(job.id)).state is JobState.RUNNING
        assert await store.renew([hold_of(job)], LEASE) == [Renewal(hold_of(job), held=True, cancel=True)]
        assert await types(store, job.id) == ["queued", "started", "canceling"]

    async def test_renewals_are_answered_one_by_one(self, store: Store) -> None:
        await store.submit([request(), request()])
        first, second = await claim(store, slots=2)
        await settle(store, first, OutcomeKind.COMPLETED)
        holds = [Hold("nope", 1), hold_of(first), hold_of(second), Hold(second.id, 2), hold_of(second)]
        assert [renewal.held for renewal in await store.renew(holds, LEASE)] == [False, False, True, False, True]
        assert await store.renew([], LEASE) == []

    async def test_a_lease_that_has_run_out_is_found_the_oldest_first(self, store: Store, clock: ManualClock) -> None:
        await store.submit([request() for _ in range(3)])
        (long,) = await claim(store, lease=timedelta(seconds=90))
        (short,) = await claim(store, lease=timedelta(seconds=30))
        (renewed,) = await claim(store, lease=timedelta(seconds=30))
        assert await store.expired() == []
        await clock.advance(29)
        await store.renew([hold_of(renewed)], timedelta(hours=1))
        assert await store.expired() == []
        await clock.advance(1)
        assert await store.expired() == [hold_of(short)]
        await clock.advance(60)
        assert await store.expired() == [hold_of(short), hold_of(long)]
        assert await store.expired(limit=1) == [hold_of(short)]

    async def test_a_worker_s_holds_are_listed_while_they_last(self, store: Store) -> None:
        await store.submit([request() for _ in range(3)])
        first, second = await claim(store, slots=2, worker="w1")
        await claim(store, worker="w2")
        assert await store.held_by("w1") == sorted([hold_of(first), hold_of(second)], key=lambda hold: hold.job_id)
        await settle(store, first, OutcomeKind.COMPLETED)
        assert await store.held_by("w1") == [hold_of(second)]
        assert await store.held_by("w3") == []

    async def test_after_a_lost_lease_the_old_worker_is_refused_everywhere(
        self, store: Store, clock: ManualClock
    ) -> None:
        await queue(store)
        (old,) = await claim(store, worker="frozen")
        await clock.advance(61)
        assert (await settle(store, old, OutcomeKind.LOST)).accepted
        (new,) = await claim(store, worker="other")
        before = await store.job(new.id)
        assert [renewal.held for renewal in await store.renew([hold_of(old)], LEASE)] == [False]
        assert await store.note([Report(hold_of(old), (Note("log", {"text": "late"}),))]) == [False]
        late = await settle(store, old, OutcomeKind.COMPLETED, result="stale")
        assert (late.accepted, late.job) == (False, before)
        assert await store.job(new.id) == before
        assert (await complete(store, [new], result="fresh")).accepted
        assert (await store.job(new.id)).result == "fresh"

    async def test_a_token_from_the_future_is_refused_too(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        (answer,) = await store.settle([Settlement(Hold(job.id, job.token + 1), _completed())])
        assert not answer.accepted
        assert (await store.job(job.id)).state is JobState.RUNNING

    # Notes.

    async def test_notes_become_events_in_order(self, store: Store, clock: ManualClock) -> None:
        await queue(store)
        (job,) = await claim(store)
        await clock.advance(1)
        notes = (Note("progress", {"done": 1}, progress=Progress(1, 4, "one")), Note("metrics", {"loss": 0.5}))
        assert await store.note([Report(hold_of(job), notes)]) == [True]
        assert await types(store, job.id) == ["queued", "started", "progress", "metrics"]
        last = (await store.events(job.id))[-1]
        assert (last.data, last.at) == ({"loss": 0.5}, clock.now())
        assert (await store.job(job.id)).progress == Progress(1, 4, "one")

    async def test_a_checkpoint_is_kept_and_handed_to_the_next_attempt(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        await settle(store, job, OutcomeKind.CRASHED)
        (job,) = await claim(store)
        assert (job.checkpoint, job.spent.crashes) == (None, 1)
        await store.note([Report(hold_of(job), (Note("checkpoint", {"step": 3}, checkpoint=CHECKPOINT),))])
        assert (await store.job(job.id)).spent == Spent()
        await settle(store, job, OutcomeKind.INTERRUPTED)
        (job,) = await claim(store)
        assert job.checkpoint == CHECKPOINT

    async def test_reports_of_many_jobs_are_answered_one_by_one(self, store: Store) -> None:
        await store.submit([request(), request()])
        first, second = await claim(store, slots=2)
        await settle(store, first, OutcomeKind.COMPLETED)
        log = (Note("log", {"text": "x"}),)
        reports = [Report(hold_of(second), log), Report(hold_of(first), log), Report(hold_of(second), log)]
        assert await store.note([*reports, Report(Hold("nope", 1), log)]) == [True, False, True, False]
        assert await types(store, second.id) == ["queued", "started", "log", "log"]
        assert await types(store, first.id) == ["queued", "started", "completed"]
        assert await store.note([]) == []

    # Ends.

    async def test_a_completed_job_keeps_result_and_artifacts(self, store: Store, clock: ManualClock) -> None:
        await queue(store)
        claimed = await claim(store)
        await clock.advance(2)
        picture = Artifact(f"jobs/{claimed[0].id}/1/a.png", 3, "0" * 64, "image/png")
        answer = await complete(store, claimed, result={"pictures": [picture.uri], "n": 0}, artifacts=(picture,))
        job = await store.job(claimed[0].id)
        assert answer.job == job
        assert (job.state, job.finished_at, job.artifacts) == (JobState.COMPLETED, clock.now(), (picture,))
        assert job.result == {"pictures": [picture.uri], "n": 0}
        assert (job.worker_id, job.lease_until, job.attempts[-1].outcome) == (None, None, OutcomeKind.COMPLETED)

    @pytest.mark.parametrize("result", [None, 0, False, "", [], {}, [1, "two", {"three": None}], 1.5, "ü✓"])
    async def test_any_json_value_is_a_result(self, store: Store, result: object) -> None:
        await queue(store)
        answer = await complete(store, await claim(store), result=result)
        assert answer.job is not None
        stored = await store.job(answer.job.id)
        assert stored.result == result
        assert type(stored.result) is type(result)

    async def test_a_settlement_sent_twice_is_accepted_and_changes_nothing(self, store: Store) -> None:
        await queue(store)
        claimed = await claim(store)
        first, second = [await complete(store, claimed, result=1) for _ in range(2)]
        assert second == first
        assert await types(store, claimed[0].id) == ["queued", "started", "completed"]

    async def test_a_settlement_twice_in_one_call_ends_the_attempt_once(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        once = Settlement(hold_of(job), _completed())
        answers = await store.settle([once, once])
        assert [answer.accepted for answer in answers] == [True, True]
        assert await types(store, job.id) == ["queued", "started", "completed"]

    async def test_the_interruption_sent_twice_is_accepted_while_the_job_waits(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        for _ in range(2):
            assert (await settle(store, job, OutcomeKind.INTERRUPTED)).accepted
        assert (await store.job(job.id)).spent.interruptions == 1

    async def test_another_end_after_the_end_is_refused(self, store: Store) -> None:
        await queue(store)
        claimed = await claim(store)
        await complete(store, claimed)
        late = await settle(store, claimed[0], OutcomeKind.LOST)
        assert not late.accepted
        assert late.job is not None
        assert late.job.state is JobState.COMPLETED

    async def test_the_end_of_an_unknown_job_is_refused(self, store: Store) -> None:
        (answer,) = await store.settle([Settlement(Hold("nope", 1), _completed())])
        assert (answer.accepted, answer.job) == (False, None)
        assert await store.settle([]) == []

    async def test_many_ends_in_one_call_are_answered_one_by_one(self, store: Store) -> None:
        await store.submit([request() for _ in range(3)])
        jobs = await claim(store, slots=3)
        settlements = [Settlement(hold_of(job), _completed()) for job in jobs]
        settlements.insert(1, Settlement(Hold(jobs[2].id, 9), _completed()))
        answers = await store.settle(settlements)
        assert [answer.accepted for answer in answers] == [True, False, True, True]
        assert [answer.hold for answer in answers] == [settlement.hold for settlement in settlements]

    async def test_an_error_is_tried_again_after_a_delay_until_the_budget_is_spent(
        self, store: Store, clock: ManualClock
    ) -> None:
        await queue(store, budget=Budget(errors=3, retry_base_seconds=10, retry_cap_seconds=15))
        states = []
        for _ in range(3):
            (job,) = await claim(store)
            failure = Failure("ValueError", "no", details={"line": 3})
            answer = await settle(store, job, OutcomeKind.FAILED, failure=failure)
            assert answer.job is not None
            states.append(answer.job.state)
            assert await store.job(job.id) == answer.job
            await clock.advance(15)
        assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
        job = await store.job(job.id)
        assert (job.spent.errors, job.failure, len(job.attempts)) == (3, failure, 3)

    async def test_an_error_that_no_retry_mends_ends_the_job(self, store: Store) -> None:
        job = await queue(store)
        await fail_for_good(store, await claim(store))
        job = await store.job(job.id)
        assert (job.state, job.spent.errors) == (JobState.FAILED, 1)
        assert job.failure is not None
        assert job.failure.details == {"n": 11}

    async def test_an_interrupted_job_goes_back_to_its_place(self, store: Store, clock: ManualClock) -> None:
        await queue(store)
        await clock.advance(1)
        await queue(store)
        (first,) = await claim(store)
        await settle(store, first, OutcomeKind.INTERRUPTED)
        assert [job.id for job in await claim(store)] == [first.id]

    async def test_a_job_asked_to_stop_is_canceled_whatever_its_worker_says(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        await store.cancel(job.id)
        answer = await settle(store, job, OutcomeKind.LOST)
        assert answer.job is not None
        assert answer.job.state is JobState.CANCELED
        assert await claim(store) == []

    async def test_asking_twice_to_stop_says_it_once(self, store: Store) -> None:
        await queue(store)
        (job,) = await claim(store)
        assert await store.cancel(job.id) == await store.cancel(job.id)
        assert await types(store, job.id) == ["queued", "started", "canceling"]

    async def test_a_clock_that_jumps_back_gives_no_job_away_twice(self, store: Store, clock: ManualClock) -> None:
        await queue(store)
        (job,) = await claim(store)
        clock.jump(clock.now() - timedelta(days=1))
        assert await store.expired() == []
        assert await claim(store, worker="w2") == []
        assert (await complete(store, [job])).accepted

    async def test_a_clock_that_jumps_ahead_only_costs_the_lease(self, store: Store, clock: ManualClock) -> None:
        await queue(store, task=TASK)
        (job,) = await claim(store)
        clock.jump(clock.now() + timedelta(days=1))
        assert await store.expired() == [hold_of(job)]
        assert (await complete(store, [job])).accepted
        assert await store.expired() == []


def _completed() -> Outcome:
    return Outcome(OutcomeKind.COMPLETED)
