"""Conformance suite of `Store`: the line that jobs stand in, their expiry, their hints. It is part of `StoreSuite`."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from glowplug.clock import ManualClock
from glowplug.errors import InvalidInput
from glowplug.job import STRIDE, Budget, Job, JobState, OutcomeKind
from glowplug.store import Depth, JobFilter, Store, Want
from glowplug.testing.work import (
    LEASE,
    TASK,
    claim,
    claim_by_id,
    complete,
    fail_for_good,
    names,
    queue,
    queue_many,
    request,
    settle,
    types,
)

SECOND = timedelta(seconds=1)


class LineSuite:
    """What every store does about order."""

    # Turns.

    async def test_owners_take_turns_however_many_jobs_each_has(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 5, owner="ann", name="a")
        await queue_many(store, clock, 2, owner="bob", name="b")
        await queue_many(store, clock, 1, owner="cem", name="c")
        assert names(await claim(store, slots=8)) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"]

    async def test_a_thousand_jobs_of_one_owner_do_not_hold_up_the_one_of_another(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.submit([request(owner="ann") for _ in range(1000)])
        await clock.advance(1)
        await claim(store, slots=10)
        job = await queue(store, owner="bob")
        assert await store.position(job.id) == 1
        assert job.id in [one.id for one in await claim(store, slots=2)]

    async def test_an_owner_of_twice_the_weight_gets_twice_the_turns(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 10, owner="ann", stride=STRIDE)
        await queue_many(store, clock, 10, owner="bob", stride=STRIDE // 2)
        owners = [job.owner for job in await claim(store, slots=9)]
        assert (owners.count("ann"), owners.count("bob")) == (3, 6)

    async def test_who_stayed_away_has_saved_up_no_turns(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 6, owner="ann", name="a")
        await claim(store, slots=3)
        await queue_many(store, clock, 3, owner="bob", name="b")
        assert names(await claim(store, slots=6)) == ["a4", "b1", "a5", "b2", "a6", "b3"]

    async def test_turns_are_taken_in_one_call_too(self, store: Store) -> None:
        owners = ["ann", "ann", "ann", "bob", "cem", "bob"]
        made = [submission.job for submission in await store.submit([request(owner=owner) for owner in owners])]
        assert made == [await store.job(job.id) for job in made]
        claimed = [job.owner for job in await claim(store, slots=6)]
        assert (set(claimed[:3]), set(claimed[3:5]), claimed[5]) == ({"ann", "bob", "cem"}, {"ann", "bob"}, "ann")

    async def test_priority_counts_before_turns(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 3, owner="ann", name="a", priority=1)
        await queue_many(store, clock, 2, owner="bob", name="b")
        await queue_many(store, clock, 1, owner="bob", name="B", priority=1)
        assert names(await claim(store, slots=6)) == ["a1", "B1", "a2", "a3", "b1", "b2"]

    async def test_each_task_has_a_line_of_its_own(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 3, task="m.a", owner="ann")
        job = await queue(store, task="m.b", owner="ann")
        assert await store.position(job.id) == 0

    async def test_a_job_that_was_interrupted_stands_at_the_head(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 3, owner="ann", name="a")
        await queue_many(store, clock, 2, owner="bob", name="b")
        (first, _) = await claim(store, slots=2)
        await settle(store, first, OutcomeKind.INTERRUPTED)
        assert await store.position(first.id) == 0
        assert names(await claim(store, slots=4)) == ["a1", "a2", "b2", "a3"]

    @pytest.mark.parametrize("kind", [OutcomeKind.CRASHED, OutcomeKind.LOST, OutcomeKind.DISPLACED])
    async def test_a_job_that_lost_its_worker_stands_at_the_head(
        self, store: Store, clock: ManualClock, kind: OutcomeKind
    ) -> None:
        await queue_many(store, clock, 3, name="a")
        (first,) = await claim(store)
        answer = await settle(store, first, kind)
        assert answer.job == await store.job(first.id)
        assert names(await claim(store, slots=3)) == ["a1", "a2", "a3"]

    async def test_a_job_tried_again_after_a_delay_stands_at_the_head_once_it_is_due(
        self, store: Store, clock: ManualClock
    ) -> None:
        await queue_many(store, clock, 4, name="a", budget=Budget(retry_base_seconds=10))
        (first,) = await claim(store)
        answer = await settle(store, first, OutcomeKind.FAILED)
        assert answer.job is not None
        assert (answer.job.turn is None) == (answer.job.run_at > clock.now())
        await clock.advance(10)
        assert names(await claim(store, slots=4)) == ["a1", "a2", "a3", "a4"]

    async def test_a_job_sent_again_by_hand_stands_at_the_end_of_its_owner_s_line(
        self, store: Store, clock: ManualClock
    ) -> None:
        await queue_many(store, clock, 3, owner="ann", name="a")
        await queue_many(store, clock, 4, owner="bob", name="b")
        (first,) = await claim(store)
        await fail_for_good(store, [first])
        again = await store.retry(first.id)
        assert again == await store.job(first.id)
        assert names(await claim(store, slots=7)) == ["b1", "a2", "b2", "a3", "b3", "a1", "b4"]

    # Later.

    async def test_a_job_for_later_gets_its_turn_when_it_is_due(self, store: Store, clock: ManualClock) -> None:
        later = await queue(store, run_at=clock.now() + 5 * SECOND)
        assert later.turn is None
        await queue_many(store, clock, 2)
        await clock.advance(5)
        await store.position(later.id)
        assert (await store.job(later.id)).turn is not None

    async def test_jobs_that_become_due_stand_behind_their_owner_s_others(
        self, store: Store, clock: ManualClock
    ) -> None:
        await queue_many(store, clock, 1, owner="ann", name="late", run_at=clock.now() + 9 * SECOND)
        await queue_many(store, clock, 1, owner="ann", name="soon", run_at=clock.now() + 3 * SECOND)
        await queue_many(store, clock, 2, owner="ann", name="a")
        await queue_many(store, clock, 3, owner="bob", name="b")
        await clock.advance(10)
        assert names(await claim(store, slots=9)) == ["a1", "b1", "a2", "b2", "soon1", "b3", "late1"]

    async def test_many_that_become_due_at_once_are_all_claimed(self, store: Store, clock: ManualClock) -> None:
        await store.submit([request(run_at=clock.now() + SECOND) for _ in range(450)])
        await clock.advance(1)
        assert len(await claim(store, slots=450)) == 450

    async def test_a_job_that_has_its_turn_keeps_it_when_the_clock_jumps_back(
        self, store: Store, clock: ManualClock
    ) -> None:
        first, second = await queue_many(store, clock, 2)
        clock.jump(clock.now() - timedelta(days=1))
        assert await store.position(second.id) == 1
        assert [job.id for job in await claim_by_id(store, second)] == [second.id]
        assert [job.id for job in await claim(store)] == [first.id]

    # The place in line.

    async def test_a_position_is_the_place_in_the_order_of_claims(self, store: Store, clock: ManualClock) -> None:
        chance = random.Random(4)  # noqa: S311 - a test that repeats itself
        for _ in range(60):
            run_at = clock.now() + chance.randrange(60) * SECOND if chance.random() < 0.3 else None
            owner, priority = chance.choice("abc"), chance.choice([0, 0, 1])
            await queue(store, owner=owner, priority=priority, run_at=run_at, stride=STRIDE // chance.choice([1, 2, 5]))
            if chance.random() < 0.2:
                for job in await claim(store):
                    await settle(store, job, chance.choice([OutcomeKind.INTERRUPTED, OutcomeKind.COMPLETED]))
            await clock.advance(1)
        await clock.advance(60)
        waiting = [job.id for job in (await store.jobs(JobFilter(states=(JobState.QUEUED,)), limit=100)).jobs]
        places = {job_id: await store.position(job_id) for job_id in waiting}
        order = [job.id for job in await claim(store, slots=100)]
        assert [places[job_id] for job_id in order] == list(range(len(waiting)))

    async def test_the_position_of_a_job_for_later_is_that_of_the_end_of_the_line(
        self, store: Store, clock: ManualClock
    ) -> None:
        later = await queue(store, priority=1, run_at=clock.now() + 9 * SECOND)
        for priority in (0, 1, 1, 2):
            await queue(store, priority=priority)
        assert await store.position(later.id) == 3
        assert await store.position(later.id, limit=2) == 2

    # By id.

    async def test_a_claim_by_id_takes_that_job_whatever_its_place(self, store: Store, clock: ManualClock) -> None:
        jobs = await queue_many(store, clock, 4, name="a")
        assert names(await claim_by_id(store, jobs[2])) == ["a3"]
        assert names(await claim(store, slots=4)) == ["a1", "a2", "a4"]

    async def test_a_claim_by_ids_keeps_the_order_and_the_slots(self, store: Store, clock: ManualClock) -> None:
        jobs = await queue_many(store, clock, 3, name="a")
        jobs += await queue_many(store, clock, 1, name="b", priority=1)
        assert names(await claim_by_id(store, *reversed(jobs), slots=3)) == ["b1", "a1", "a2"]

    async def test_a_claim_by_id_leaves_alone_what_does_not_wait(self, store: Store, clock: ManualClock) -> None:
        running, done, canceled = await queue_many(store, clock, 3)
        await complete(store, await claim_by_id(store, done))
        await claim_by_id(store, running)
        await store.cancel(canceled.id)
        later = await queue(store, run_at=clock.now() + SECOND)
        other = await queue(store, task="m.other")
        before = [await store.job(job.id) for job in (running, done, canceled, later, other)]
        assert await claim_by_id(store, running, done, canceled, later, other, slots=9) == []
        assert await store.claim("w1", [Want((TASK,), 9)], LEASE, only=["nope", "", "a\x00b"]) == []
        assert await store.claim("w1", [Want((TASK, "m.other"), 9)], LEASE, only=[]) == []
        assert [await store.job(job.id) for job in (running, done, canceled, later, other)] == before

    async def test_a_claim_by_id_takes_a_job_that_has_just_become_due(self, store: Store, clock: ManualClock) -> None:
        later = await queue(store, run_at=clock.now() + SECOND)
        await clock.advance(1)
        assert [job.id for job in await claim_by_id(store, later)] == [later.id]

    async def test_a_hint_seen_by_many_at_once_is_claimed_by_one(self, store: Store) -> None:
        job = await queue(store)
        claims = await asyncio.gather(*(claim_by_id(store, job, worker=f"w{number}") for number in range(20)))
        assert [one.id for jobs in claims for one in jobs] == [job.id]

    async def test_claims_by_id_and_by_place_never_share_a_job(self, store: Store, clock: ManualClock) -> None:
        jobs = await queue_many(store, clock, 60)
        by_place = [claim(store, slots=3, worker=f"p{number}") for number in range(10)]
        by_id = [claim_by_id(store, *jobs[start : start + 6], slots=6, worker=f"i{start}") for start in range(0, 60, 3)]
        taken = [job.id for some in await asyncio.gather(*by_place, *by_id) for job in some]
        assert len(taken) == len(set(taken)) == 60

    # Expiry.

    async def test_what_has_expired_is_not_started_and_fails_when_it_is_swept(
        self, store: Store, clock: ManualClock
    ) -> None:
        job = await queue(store, expires_at=clock.now() + 5 * SECOND)
        await clock.advance(4)
        assert await store.expire() == []
        await clock.advance(1)
        assert await claim(store) == await claim_by_id(store, job) == []
        (ended,) = await store.expire()
        assert ended == await store.job(job.id)
        assert (ended.state, ended.turn, ended.finished_at) == (JobState.FAILED, None, clock.now())
        assert ended.failure is not None
        assert (ended.failure.code, ended.failure.retryable) == ("expired", False)
        assert await types(store, job.id) == ["queued", "failed"]
        assert await store.expire() == []

    async def test_what_has_expired_hides_nothing_behind_it(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 3, priority=1, expires_at=clock.now() + SECOND)
        job = await queue(store)
        await clock.advance(1)
        assert [one.id for one in await store.undispatched([TASK], limit=1)] == [job.id]
        assert [one.id for one in await claim(store)] == [job.id]

    async def test_the_sweep_ends_the_oldest_first_and_no_more_than_asked(
        self, store: Store, clock: ManualClock
    ) -> None:
        for seconds in (3, 1, 2):
            await queue_many(store, clock, 1, name=str(seconds), expires_at=clock.now() + seconds * SECOND)
        await clock.advance(5)
        assert names(await store.expire(limit=2)) == ["11", "21"]
        assert names(await store.expire(limit=2)) == ["31"]

    async def test_a_job_for_later_can_expire_before_its_time(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, run_at=clock.now() + 9 * SECOND, expires_at=clock.now() + SECOND)
        await clock.advance(1)
        assert [one.id for one in await store.expire()] == [job.id]

    async def test_what_has_been_started_in_time_does_not_expire(self, store: Store, clock: ManualClock) -> None:
        await queue(store, expires_at=clock.now() + SECOND)
        claimed = await claim(store)
        await clock.advance(2)
        assert await store.expire() == []
        assert (await complete(store, claimed)).accepted

    async def test_what_expired_can_be_sent_again_and_expires_no_more(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, expires_at=clock.now() + SECOND)
        await clock.advance(1)
        await store.expire()
        assert (await store.retry(job.id)).expires_at is None
        assert [one.id for one in await claim(store)] == [job.id]

    async def test_nobody_is_told_to_hurry_for_what_has_expired(self, store: Store, clock: ManualClock) -> None:
        await queue(store, expires_at=clock.now() + SECOND)
        await clock.advance(1)
        assert await store.next_due_seconds([TASK]) is None
        await queue(store, run_at=clock.now() + 7 * SECOND)
        assert await store.next_due_seconds([TASK]) == 7

    @pytest.mark.parametrize("stride", [0, -1, 2**40])
    async def test_a_stride_out_of_range_is_refused(self, store: Store, stride: int) -> None:
        with pytest.raises(InvalidInput):
            await queue(store, stride=stride)

    # Hints.

    async def test_due_jobs_are_undispatched_in_the_order_of_claims(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 3, owner="ann", name="a")
        await queue_many(store, clock, 1, owner="bob", name="b")
        await queue_many(store, clock, 1, owner="bob", name="urgent", task="m.b", priority=1)
        await queue_many(store, clock, 1, name="later", run_at=clock.now() + SECOND)
        assert names(await store.undispatched([TASK, "m.b", TASK], limit=9)) == ["urgent1", "a1", "b1", "a2", "a3"]
        assert names(await store.undispatched([TASK], limit=2)) == ["a1", "b1"]
        assert await store.undispatched([], limit=9) == []
        assert await store.undispatched([TASK], limit=0) == []

    async def test_a_job_that_becomes_due_is_to_be_dispatched(self, store: Store, clock: ManualClock) -> None:
        later = await queue(store, run_at=clock.now() + SECOND)
        assert await store.undispatched([TASK], limit=9) == []
        await clock.advance(1)
        (job,) = await store.undispatched([TASK], limit=9)
        assert (job.id, job.turn is None) == (later.id, False)

    async def test_a_dispatched_job_keeps_its_place_and_is_not_dispatched_twice(
        self, store: Store, clock: ManualClock
    ) -> None:
        first, second, _ = await queue_many(store, clock, 3, name="a")
        await clock.advance(1)
        await store.mark_dispatched([first.id, second.id])
        assert names(await store.undispatched([TASK], limit=9)) == ["a3"]
        assert (await store.job(first.id)).dispatched_at == clock.now()
        assert [await store.dispatched(tasks) for tasks in ([TASK], [TASK, "m.none"], ["m.none"], [])] == [2, 2, 0, 0]
        assert await types(store, first.id) == ["queued"]
        assert (await store.depths())[TASK] == Depth(queued=3, due=3, oldest_seconds=1.003, dispatched=2)
        assert names(await claim(store, slots=3)) == ["a1", "a2", "a3"]

    async def test_a_mark_goes_when_the_job_no_longer_waits(self, store: Store, clock: ManualClock) -> None:
        claimed, canceled, expiring = await queue_many(store, clock, 3, expires_at=clock.now() + SECOND)
        await store.mark_dispatched([claimed.id, canceled.id, expiring.id])
        await claim_by_id(store, claimed)
        await store.cancel(canceled.id)
        await clock.advance(1)
        await store.expire()
        for job in (claimed, canceled, expiring):
            assert (await store.job(job.id)).dispatched_at is None
        assert (await store.depths())[TASK].dispatched == 0

    async def test_a_job_that_is_queued_again_is_to_be_dispatched_again(self, store: Store, clock: ManualClock) -> None:
        job, _ = await queue_many(store, clock, 2)
        await store.mark_dispatched([job.id])
        (running,) = await claim(store)
        await settle(store, running, OutcomeKind.INTERRUPTED)
        assert [one.id for one in await store.undispatched([TASK], limit=1)] == [job.id]

    async def test_what_does_not_wait_is_not_marked(self, store: Store, clock: ManualClock) -> None:
        await queue_many(store, clock, 2)
        running, done = await claim(store, slots=2)
        await complete(store, [done])
        await store.mark_dispatched([running.id, done.id, "nope", ""])
        await store.mark_dispatched([])
        assert await store.job(running.id) == running
        assert (await store.job(done.id)).dispatched_at is None

    async def test_marks_of_lost_hints_are_taken_away_by_task_and_age(self, store: Store, clock: ManualClock) -> None:
        old, new = await queue_many(store, clock, 2, name="a")
        other = await queue(store, task="m.other")
        await store.mark_dispatched([old.id, other.id])
        await clock.advance(60)
        await store.mark_dispatched([new.id])
        before = await store.job(old.id)
        assert await store.mark_lost([TASK, "m.none"], clock.now() - 60 * SECOND) == 0
        assert await store.mark_lost([TASK, "m.none"], clock.now() - 59 * SECOND) == 1
        assert await store.mark_lost([], clock.now() + SECOND) == 0
        assert names(await store.undispatched([TASK], limit=9)) == ["a1"]
        after = await store.job(old.id)
        assert (after.turn, after.dispatched_at) == (before.turn, None)
        assert (await store.job(other.id)).dispatched_at is not None

    # The rate of an owner.

    async def test_the_nth_newest_job_of_an_owner_tells_its_time(self, store: Store, clock: ManualClock) -> None:
        made: list[Job] = []
        for task in ("m.a", "m.b", "m.a", "m.a"):
            made.append(await queue(store, owner="ann", task=task))
            await clock.advance(1)
        await queue(store, owner="bob", task="m.a")
        await complete(store, await claim(store, "m.a"))
        newest = [await store.nth_newest("ann", n) for n in (1, 2, 4, 5)]
        assert newest == [made[3].created_at, made[2].created_at, made[0].created_at, None]
        of_task = [await store.nth_newest("ann", n, task="m.a") for n in (1, 3, 4)]
        assert of_task == [made[3].created_at, made[0].created_at, None]
        assert await store.nth_newest("nobody", 1) is None
        assert await store.nth_newest("ann", 0) is None
