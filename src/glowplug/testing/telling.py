"""Conformance suite of `Store`: what doors are told of jobs, and who does a duty. It is part of `StoreSuite`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from glowplug.clock import ManualClock
from glowplug.errors import InvalidInput
from glowplug.job import Follower, Note, OutcomeKind
from glowplug.store import Delivery, Report, Store, Try
from glowplug.testing.work import claim, complete, fail_for_good, hold_of, queue, queue_many, request, settle

SECOND = timedelta(seconds=1)
TERM = timedelta(seconds=10)
EVERYTHING = Follower("hook")
ENDS = Follower("hook", ("completed", "failed", "canceled"))


class TellingSuite:
    """What every store does for doors and between gateways."""

    # What is due.

    async def test_a_job_that_nobody_follows_is_told_to_nobody(self, store: Store) -> None:
        job = await queue(store)
        assert await store.deliveries(job.id) == []
        assert await store.undelivered("hook") == []
        assert await store.next_delivery_seconds("hook") is None
        assert await store.deliveries("nope") == []

    async def test_followers_read_back(self, store: Store) -> None:
        followers = (Follower("ünï ✓", ("a", "b")), EVERYTHING)
        job = await queue(store, followers=followers)
        assert (await store.job(job.id)).followers == job.followers == followers

    async def test_an_event_that_is_followed_is_due_at_once(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        due = Delivery(job_id=job.id, door="hook", due_at=clock.now())
        assert await store.undelivered("hook") == await store.deliveries(job.id) == [due]
        assert await store.next_delivery_seconds("hook") == 0
        assert await store.undelivered("other") == []

    async def test_only_the_types_that_are_followed_are_due(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(ENDS,))
        claimed = await claim(store)
        assert await store.deliveries(job.id) == []
        await clock.advance(3)
        await complete(store, claimed)
        assert await store.undelivered("hook") == [Delivery(job_id=job.id, door="hook", due_at=clock.now())]

    async def test_each_door_is_told_what_it_follows(self, store: Store) -> None:
        job = await queue(store, followers=(ENDS, Follower("queue", ("queued",)), Follower("log")))
        assert [one.door for one in await store.deliveries(job.id)] == ["log", "queue"]
        await store.cancel(job.id)
        assert [one.door for one in await store.deliveries(job.id)] == ["hook", "log", "queue"]

    async def test_the_longest_due_is_told_first_and_no_more_than_asked(self, store: Store, clock: ManualClock) -> None:
        jobs = await queue_many(store, clock, 3, followers=(EVERYTHING,))
        await self.told(store, jobs[0].id, due_at=clock.now() + SECOND)
        await clock.advance(5)
        assert [one.job_id for one in await store.undelivered("hook", limit=2)] == [jobs[1].id, jobs[2].id]
        assert [one.job_id for one in await store.undelivered("hook")] == [jobs[1].id, jobs[2].id, jobs[0].id]

    @pytest.mark.parametrize(
        "step", ["claimed", "noted", "canceling", "interrupted", "failed", "retried", "completed", "expired"]
    )
    async def test_whatever_writes_an_event_makes_it_due(self, store: Store, clock: ManualClock, step: str) -> None:
        job = await queue(store, followers=(EVERYTHING,), expires_at=clock.now() + 9 * SECOND)
        if step == "retried":
            await store.cancel(job.id)
        running = await claim(store) if step in ("noted", "canceling", "interrupted", "failed", "completed") else []
        await self.told(store, job.id)
        assert await store.undelivered("hook") == []
        await clock.advance(9)
        if step == "claimed":
            clock.jump(clock.now() - SECOND)
            await claim(store)
        elif step == "noted":
            await store.note([Report(hold_of(running[0]), (Note("log", {"text": "x"}),))])
        elif step == "canceling":
            await store.cancel(job.id)
        elif step == "interrupted":
            await settle(store, running[0], OutcomeKind.INTERRUPTED)
        elif step == "failed":
            await fail_for_good(store, running)
        elif step == "retried":
            await store.retry(job.id)
        elif step == "completed":
            await complete(store, running)
        else:
            await store.expire()
        (due,) = await store.undelivered("hook")
        assert (due.job_id, due.due_at, due.seq) == (job.id, clock.now(), (await store.job(job.id)).last_seq - 1)

    async def test_what_writes_no_event_wakes_nobody(self, store: Store) -> None:
        (submission,) = await store.submit([request(key="k", followers=(EVERYTHING,))])
        await self.told(store, submission.job.id)
        await store.submit([request(key="k", followers=(EVERYTHING,))])
        await store.mark_dispatched([submission.job.id])
        await store.position(submission.job.id)
        assert await store.undelivered("hook") == []

    # What was told.

    async def test_how_far_a_door_was_told_reads_back(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        said = Delivery(
            job_id=job.id,
            door="hook",
            seq=0,
            due_at=clock.now() + 7 * SECOND,
            failures=2,
            failing_since=clock.now() - SECOND,
            tries=(Try(clock.now(), 1, "no ✓", 503, 0.25), Try(clock.now(), 1, "refused")),
        )
        await store.save_deliveries([said])
        assert await store.deliveries(job.id) == [said]
        done = Delivery(job_id=job.id, door="hook", seq=1, tries=(Try(clock.now(), 1),))
        await store.save_deliveries([done])
        assert await store.deliveries(job.id) == [done]
        assert await store.next_delivery_seconds("hook") is None

    async def test_an_event_written_meanwhile_keeps_it_due(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        (due,) = await store.undelivered("hook")
        await claim(store)
        await clock.advance(1)
        await store.save_deliveries([replace(due, seq=1, due_at=None)])
        assert await store.undelivered("hook") == [Delivery(job_id=job.id, door="hook", seq=1, due_at=clock.now())]

    async def test_an_event_that_nobody_asked_for_does_not_keep_it_due(self, store: Store) -> None:
        job = await queue(store, followers=(Follower("hook", ("queued", "completed")),))
        (due,) = await store.undelivered("hook")
        running = await claim(store)
        await store.save_deliveries([replace(due, seq=1, due_at=None)])
        assert await store.undelivered("hook") == []
        await complete(store, running)
        assert [one.seq for one in await store.undelivered("hook")] == [1]
        assert [one.job_id for one in await store.deliveries(job.id)] == [job.id]

    async def test_no_event_is_lost_between_telling_and_saving(self, store: Store) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        (running,) = await claim(store)
        report = Report(hold_of(running), (Note("log", {"text": "x"}),))
        for _ in range(20):
            last = (await store.job(job.id)).last_seq
            told = Delivery(job_id=job.id, door="hook", seq=last)
            await asyncio.gather(store.note([report]), store.save_deliveries([told]))
            assert [one.seq for one in await store.undelivered("hook")] == [last]

    async def test_a_door_that_failed_is_told_again_when_it_is_time(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        await self.told(store, job.id, seq=0, due_at=clock.now() + 5 * SECOND, failures=1)
        assert await store.undelivered("hook") == []
        assert await store.next_delivery_seconds("hook") == 5
        await claim(store)
        assert await store.next_delivery_seconds("hook") == 5
        await clock.advance(5)
        assert [one.failures for one in await store.undelivered("hook")] == [1]
        await clock.advance(5)
        assert await store.next_delivery_seconds("hook") == 0

    async def test_a_delivery_that_was_given_up_is_due_only_when_somebody_says_so(
        self, store: Store, clock: ManualClock
    ) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        await self.told(store, job.id, seq=0, given_up=True)
        await claim(store)
        assert await store.undelivered("hook") == []
        assert [one.given_up for one in await store.deliveries(job.id)] == [True]
        await self.told(store, job.id, seq=0, due_at=clock.now())
        assert [one.given_up for one in await store.undelivered("hook")] == [False]

    async def test_only_the_newest_tries_are_kept(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store, followers=(EVERYTHING,))
        tries = tuple(Try(clock.now() + number * SECOND, number) for number in range(30))
        await self.told(store, job.id, seq=1, tries=tries)
        assert (await store.deliveries(job.id))[0].tries == tries[10:]

    async def test_deliveries_go_with_their_jobs(self, store: Store, clock: ManualClock) -> None:
        gone, kept = await queue_many(store, clock, 2, followers=(EVERYTHING,))
        await store.cancel(gone.id)
        await clock.advance(1)
        await store.clean(clock.now())
        assert [one.job_id for one in await store.undelivered("hook")] == [kept.id]
        told = [Delivery(job_id=job_id, door="hook", seq=1) for job_id in (gone.id, kept.id, "nope")]
        await store.save_deliveries(told)
        assert (await store.deliveries(gone.id), await store.deliveries(kept.id)) == ([], [told[1]])
        await store.save_deliveries([])

    async def test_a_follower_that_is_no_text_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInput):
            await queue(store, followers=(Follower("half a pair: \ud800"),))

    # Duties.

    async def test_one_leads_until_the_term_is_over(self, store: Store, clock: ManualClock) -> None:
        assert await store.lead("reap", "g1", TERM)
        assert not await store.lead("reap", "g2", TERM)
        await clock.advance(6)
        assert await store.lead("reap", "g1", TERM)
        await clock.advance(6)
        assert not await store.lead("reap", "g2", TERM)
        await clock.advance(4)
        assert await store.lead("reap", "g2", TERM)
        assert not await store.lead("reap", "g1", TERM)

    async def test_who_resigns_lets_another_lead_at_once(self, store: Store) -> None:
        await store.lead("reap", "g1", TERM)
        await store.resign("reap", "g2")
        assert not await store.lead("reap", "g2", TERM)
        await store.resign("reap", "g1")
        assert await store.lead("reap", "g2", TERM)
        await store.resign("never led", "g1")

    async def test_each_duty_has_its_own_leader(self, store: Store) -> None:
        assert await store.lead("reap", "g1", TERM)
        assert await store.lead("relay", "g2", TERM)

    async def test_of_many_at_once_one_leads(self, store: Store, clock: ManualClock) -> None:
        for _ in range(3):
            answers = await asyncio.gather(*(store.lead("reap", f"g{number}", TERM) for number in range(20)))
            assert answers.count(True) == 1
            await clock.advance(10)

    async def test_a_clock_that_jumps_back_leaves_the_leader_in_place(self, store: Store, clock: ManualClock) -> None:
        await store.lead("reap", "g1", TERM)
        clock.jump(clock.now() - timedelta(days=1))
        assert not await store.lead("reap", "g2", TERM)
        assert await store.lead("reap", "g1", TERM)
        await clock.advance(10)
        assert await store.lead("reap", "g2", TERM)

    async def told(self, store: Store, job_id: str, **fields: object) -> None:
        """Say that the door was told all there is, or what `fields` say."""
        seq = (await store.job(job_id)).last_seq
        await store.save_deliveries([Delivery(**({"job_id": job_id, "door": "hook", "seq": seq} | fields))])  # type: ignore[arg-type]
