"""A teller brings what is due through its door: in order, again after failures, and once more after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.gateway.house import Told as Heard
from tests.unit.gateway.listeners import Listener, completed, refused, run, submitted, taken, until, wind

from glowplug.clock import ManualClock
from glowplug.door import DAY_SECONDS, Told
from glowplug.gateway.telling import OFFERED_EVENTS, Patience, Teller, TellingPace, again, judged, outcome
from glowplug.job import Follower, Job, JobEvent, JobRequest, Note, Outcome, OutcomeKind
from glowplug.store import Delivery, Hold, Report, Settlement, Try, Want
from glowplug.stores.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience(base_seconds=1.0, cap_seconds=30.0, patience_seconds=DAY_SECONDS)
BOUND = 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock, jitter=lambda: 0.5)


@pytest.fixture
def door() -> Listener:
    return Listener()


@asynccontextmanager
async def telling(door: Listener, store: MemoryStore, clock: ManualClock, **more: Any) -> AsyncIterator[Teller]:
    """Run a teller."""
    more.setdefault("jitter", lambda: 1.0)
    async with asyncio.timeout(BOUND), Teller(door, store, clock, **more) as teller:
        yield teller


async def delivery(store: MemoryStore, job: Job) -> Delivery:
    """Return how far the door was told of a job."""
    (found,) = await store.deliveries(job.id)
    return found


async def nothing_due(store: MemoryStore, job: Job) -> Delivery:
    """Wait until the job's delivery is over for now."""
    async with asyncio.timeout(BOUND):
        while (found := await delivery(store, job)).due_at is not None:
            await asyncio.sleep(0.002)
    return found


def events(*seqs: int) -> list[JobEvent]:
    return [JobEvent("j", seq, "metrics", NOW) for seq in seqs]


class TestTheOutcomeOfATry:
    """Pure: from how far the door was and what it said to how far it is and when it is tried again."""

    fresh = Delivery(job_id="j", door="listener", seq=2, due_at=NOW)
    offered = Try(NOW, 5)

    def test_what_was_taken_is_over(self) -> None:
        after = outcome(self.fresh, Told(5, status=200), self.offered, 1.0, PATIENCE)
        assert (after.seq, after.due_at, after.failures, after.given_up) == (5, None, 0, False)
        assert after.tries == (Try(NOW, 5, "", 200),)

    def test_the_rest_of_what_was_taken_in_part_is_due_at_once(self) -> None:
        after = outcome(self.fresh, Told(3), self.offered, 1.0, PATIENCE)
        assert (after.seq, after.due_at, after.failures) == (3, NOW, 0)

    def test_a_failure_is_tried_again_after_a_pause_that_grows_up_to_a_cap(self) -> None:
        pauses = []
        after = self.fresh
        for _ in range(8):
            after = outcome(after, Told(0, "away"), self.offered, 1.0, PATIENCE)
            assert after.due_at is not None
            pauses.append((after.due_at - NOW).total_seconds())
        assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
        assert (after.failures, after.failing_since, after.seq) == (8, NOW, 2)

    def test_the_pause_is_anything_from_nothing_to_the_whole(self) -> None:
        failing = replace(self.fresh, failures=3, failing_since=NOW)
        for jitter, seconds in ((0.0, 0), (0.25, 2), (1.0, 8)):
            after = outcome(failing, Told(0, "away"), self.offered, jitter, PATIENCE)
            assert after.due_at == NOW + timedelta(seconds=seconds)

    def test_the_other_side_may_ask_for_a_longer_pause(self) -> None:
        after = outcome(self.fresh, Told(0, "busy", 429, retry_after_seconds=120), self.offered, 1.0, PATIENCE)
        assert after.due_at == NOW + timedelta(seconds=120)

    def test_it_cannot_ask_for_a_pause_that_is_for_ever(self) -> None:
        after = outcome(self.fresh, Told(0, "busy", 503, retry_after_seconds=1e12), self.offered, 1.0, PATIENCE)
        assert after.due_at == NOW + timedelta(seconds=DAY_SECONDS / 4)

    def test_a_failure_behind_something_taken_is_the_first_of_a_new_row(self) -> None:
        failing = replace(self.fresh, failures=9, failing_since=NOW - timedelta(hours=23))
        after = outcome(failing, Told(4, "away"), self.offered, 1.0, PATIENCE)
        assert (after.seq, after.failures, after.failing_since) == (4, 1, NOW)
        assert after.due_at == NOW + timedelta(seconds=1)

    def test_a_success_ends_the_row(self) -> None:
        failing = replace(self.fresh, failures=9, failing_since=NOW - timedelta(hours=23))
        after = outcome(failing, Told(5), self.offered, 1.0, PATIENCE)
        assert (after.failures, after.failing_since) == (0, None)

    @pytest.mark.parametrize(("hours", "given_up"), [(23.9, False), (24.1, True)])
    def test_it_is_given_up_after_a_day(self, hours: float, given_up: bool) -> None:
        failing = replace(self.fresh, failures=99, failing_since=NOW - timedelta(hours=hours))
        after = outcome(failing, Told(0, "away"), self.offered, 1.0, PATIENCE)
        assert (after.given_up, after.due_at is None) == (given_up, given_up)

    def test_it_is_given_up_at_once_when_nothing_more_is_wanted(self) -> None:
        after = outcome(self.fresh, Told(0, "gone", 410, gone=True), self.offered, 1.0, PATIENCE)
        assert (after.given_up, after.due_at, after.failures) == (True, None, 1)

    def test_the_newest_twenty_tries_are_kept(self) -> None:
        after = self.fresh
        for number in range(25):
            after = outcome(after, Told(0, f"error {number}"), self.offered, 1.0, PATIENCE)
        assert [one.error for one in after.tries] == [f"error {number}" for number in range(5, 25)]

    def test_an_endless_error_is_cut(self) -> None:
        after = outcome(self.fresh, Told(0, "x" * 5000), self.offered, 1.0, PATIENCE)
        assert len(after.tries[0].error) == 300

    def test_to_start_over_forgets_the_failures_and_keeps_the_tries(self) -> None:
        failed = outcome(self.fresh, Told(0, "gone", gone=True), self.offered, 1.0, PATIENCE)
        after = again(failed, NOW)
        assert (after.seq, after.due_at, after.failures, after.given_up) == (2, NOW, 0, False)
        assert after.tries == failed.tries


class TestWhatADoorSays:
    """Pure: what an answer means, also an odd one."""

    def test_who_took_all_that_was_offered_is_as_far_as_the_log(self) -> None:
        assert judged(Told(5), events(3, 5), 9).seq == 9

    def test_who_took_a_part_is_there(self) -> None:
        assert judged(Told(3), events(3, 5), 9).seq == 3

    def test_who_took_nothing_and_names_no_error_has_failed(self) -> None:
        assert judged(Told(0), events(3, 5), 9).error

    def test_nobody_takes_more_than_was_offered(self) -> None:
        assert judged(Told(999, "odd"), events(3, 5), 9).seq == 5

    def test_a_farewell_without_a_reason_gets_one(self) -> None:
        assert judged(Told(0, gone=True), events(3), 9).error


class TestTelling:
    """A teller at work on the store in memory."""

    async def test_a_job_is_told_from_its_first_event_to_its_last_in_order(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        job = await completed(store, door)
        async with telling(door, store, clock):
            await until(lambda: len(door.told) == 3)
            assert door.types_of(job) == ["queued", "started", "completed"]
            found = await nothing_due(store, job)
        assert (found.seq, found.failures) == (3, 0)
        assert [one.status for one in found.tries] == [204]

    async def test_what_is_written_later_is_told_as_soon_as_somebody_wakes_the_teller(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        async with telling(door, store, clock) as teller:
            job = await submitted(store, door)
            teller.wake()
            await until(lambda: door.of(job) == [1])
            await nothing_due(store, job)
            await run(store)
            teller.wake()
            await until(lambda: door.of(job) == [1, 2, 3])

    async def test_what_nobody_announced_is_found_by_looking(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        async with telling(door, store, clock):
            await clock.advance(0.1)
            job = await completed(store, door)
            await wind(clock, lambda: door.of(job) == [1, 2, 3])

    async def test_only_what_the_follower_wants_is_told(self, store: MemoryStore, clock: ManualClock) -> None:
        door = Listener(types=("completed", "failed"))
        job = await completed(store, door)
        async with telling(door, store, clock):
            await until(lambda: door.types_of(job) == ["completed"])
            assert (await nothing_due(store, job)).seq == 3

    async def test_a_long_log_is_told_in_pages_without_a_gap(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        await submitted(store, door)
        job = (await store.claim("w1", [Want(("echo.say",), 1)], timedelta(seconds=60)))[0]
        notes = tuple(Note("metrics", {"epoch": number}) for number in range(250))
        await store.note([Report(Hold(job.id, job.token), notes)])
        async with telling(door, store, clock):
            await until(lambda: len(door.told) >= 252)
            assert door.of(job) == list(range(1, 253))
            assert (await nothing_due(store, job)).seq == 252

    async def test_what_a_door_took_before_its_time_was_up_is_not_told_again(
        self, store: MemoryStore, clock: ManualClock
    ) -> None:
        hangs = asyncio.Event()

        class Slow(Listener):
            async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
                if events[0].seq > OFFERED_EVENTS and not hangs.is_set():
                    hangs.set()
                    await asyncio.Event().wait()
                return await super().tell(job, events)

        slow = Slow()
        await submitted(store, slow)
        job = (await store.claim("w1", [Want(("echo.say",), 1)], timedelta(seconds=60)))[0]
        notes = tuple(Note("metrics", {"epoch": number}) for number in range(OFFERED_EVENTS))
        await store.note([Report(Hold(job.id, job.token), notes)])
        async with telling(slow, store, clock):
            await wind(clock, lambda: len(slow.told) == OFFERED_EVENTS + 2, step=10)
        assert hangs.is_set()
        assert slow.of(job) == list(range(1, OFFERED_EVENTS + 3))

    async def test_a_long_log_of_which_one_event_is_wanted_is_passed_over(
        self, store: MemoryStore, clock: ManualClock
    ) -> None:
        door = Listener(types=("queued", "completed"))
        await submitted(store, door)
        job = (await store.claim("w1", [Want(("echo.say",), 1)], timedelta(seconds=60)))[0]
        hold = Hold(job.id, job.token)
        await store.note([Report(hold, tuple(Note("metrics") for _ in range(300)))])
        await store.settle([Settlement(hold, Outcome(OutcomeKind.COMPLETED))])
        async with telling(door, store, clock):
            await until(lambda: door.types_of(job) == ["queued", "completed"])
            assert (await nothing_due(store, job)).seq == 303

    async def test_a_failed_tell_is_repeated_until_it_is_taken(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [refused(), refused(status=500), taken]
        job = await completed(store, door)
        async with telling(door, store, clock):
            await until(lambda: len(door.told) == 3)
            await wind(clock, lambda: len(door.told) == 9, step=0.5)
            found = await nothing_due(store, job)
        assert door.of(job) == [1, 2, 3] * 3
        assert [(one.error, one.status) for one in found.tries] == [
            ("it is away", None),
            ("it is away", 500),
            ("", 204),
        ]

    async def test_it_is_not_repeated_before_its_time(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [refused(retry_after_seconds=60), taken]
        job = await completed(store, door)
        async with telling(door, store, clock) as teller:
            await until(lambda: len(door.told) == 3)
            for _ in range(11):
                await clock.advance(5)
                teller.wake()
                await asyncio.sleep(0.025)
            assert door.of(job) == [1, 2, 3]
            await wind(clock, lambda: len(door.told) == 6)

    async def test_new_events_do_not_cut_the_pause_short(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [refused(retry_after_seconds=60), taken]
        job = await submitted(store, door)
        async with telling(door, store, clock) as teller:
            await until(lambda: door.of(job) == [1])
            await until(lambda: not teller._busy)
            await run(store)
            teller.wake()
            await asyncio.sleep(0.05)
            assert door.of(job) == [1]
            await wind(clock, lambda: door.of(job) == [1, 1, 2, 3])

    async def test_what_was_taken_before_a_failure_is_not_told_again(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [lambda job, events: Told(2, "then it went away"), taken]
        job = await completed(store, door)
        async with telling(door, store, clock):
            await wind(clock, lambda: door.of(job) == [1, 2, 3, 3])

    async def test_a_door_that_takes_one_at_a_time_gets_the_rest_at_once(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [lambda job, events: Told(events[0].seq)]
        job = await completed(store, door)
        async with telling(door, store, clock):
            await until(lambda: door.of(job) == [1, 2, 3, 2, 3, 3])
            assert (await nothing_due(store, job)).seq == 3

    async def test_after_a_day_of_failures_it_is_given_up(
        self, door: Listener, store: MemoryStore, clock: ManualClock, told: Heard
    ) -> None:
        door.longest_pause_seconds = 3600.0  # type: ignore[misc]
        door.answers = [refused(status=500)]
        job = await completed(store, door)
        async with telling(door, store, clock) as teller:
            began = clock.now()
            await wind(clock, lambda: told.of("delivery.given_up"), step=600)
            assert timedelta(days=1) <= clock.now() - began < timedelta(days=1, hours=2)
            found = await delivery(store, job)
            assert (found.given_up, found.due_at, len(found.tries) > 10) == (True, None, True)
            count = len(door.told)
            await clock.advance(DAY_SECONDS)
            teller.wake()
            await asyncio.sleep(0.05)
            assert len(door.told) == count
        assert len(told.of("delivery.failed")) == 1

    async def test_who_wants_nothing_more_is_told_nothing_more(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [refused(gone=True, status=410)]
        job = await submitted(store, door)
        async with telling(door, store, clock) as teller:
            await until(lambda: door.of(job) == [1])
            assert (await nothing_due(store, job)).given_up
            await run(store)
            teller.wake()
            await clock.advance(60)
            assert door.of(job) == [1]

    async def test_a_door_that_raises_has_failed_and_is_tried_again(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        def broken(job: Job, events: Sequence[JobEvent]) -> Told:
            raise ValueError("a mistake in it")

        door.answers = [broken, taken]
        job = await completed(store, door)
        async with telling(door, store, clock):
            await wind(clock, lambda: len(door.told) == 6)
            found = await nothing_due(store, job)
        assert found.tries[0].error == "ValueError: a mistake in it"

    async def test_a_door_that_never_comes_back_has_failed(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.gate.clear()
        job = await completed(store, door)
        async with telling(door, store, clock):
            await until(lambda: door.at_once == 1)
            await wind(clock, lambda: door.at_once == 0, step=30)
            door.gate.set()
            await wind(clock, lambda: door.of(job) == [1, 2, 3])
            assert "did not come back" in (await nothing_due(store, job)).tries[0].error

    async def test_a_job_that_is_deleted_meanwhile_is_let_be(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.answers = [refused()]
        job = await completed(store, door)
        async with telling(door, store, clock) as teller:
            await until(lambda: door.of(job) == [1, 2, 3])
            await clock.advance(0.5)
            await store.clean(clock.now() + timedelta(seconds=1))
            await clock.advance(60)
            teller.wake()
            await asyncio.sleep(0.03)
            assert door.of(job) == [1, 2, 3]

    async def test_a_job_of_the_past_whose_follower_is_gone_is_no_longer_due(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        request = JobRequest(task="echo.say", input={}, followers=(Follower("somebody else"),))
        job = (await store.submit([request]))[0].job
        await store.save_deliveries([Delivery(job_id=job.id, door=door.name, due_at=clock.now())])
        async with telling(door, store, clock), asyncio.timeout(BOUND):
            while await store.undelivered(door.name):
                await asyncio.sleep(0.002)
        assert door.told == []


class TestManyAtOnce:
    """Order within a job, and nobody in anybody's way."""

    async def test_no_job_is_told_twice_at_the_same_time(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.gate.clear()
        job = await completed(store, door)
        async with telling(door, store, clock) as teller:
            await until(lambda: door.at_once == 1)
            for _ in range(5):
                teller.wake()
                await asyncio.sleep(0.025)
            assert door.most_at_once == 1
            door.gate.set()
            await until(lambda: door.of(job) == [1, 2, 3])

    async def test_jobs_are_told_side_by_side_up_to_a_bound(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.gate.clear()
        jobs = [await completed(store, door) for _ in range(10)]
        async with telling(door, store, clock, pace=TellingPace(lanes=4)):
            await until(lambda: door.at_once == 4)
            await asyncio.sleep(0.05)
            assert door.most_at_once == 4
            door.gate.set()
            await until(lambda: len(door.told) == 30)
        assert all(door.of(job) == [1, 2, 3] for job in jobs)

    async def test_a_target_that_hangs_holds_up_nobody_else(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.held["slow"] = asyncio.Event()
        slow = [await completed(store, door, target="slow") for _ in range(30)]
        fast = [await completed(store, door, target="fast") for _ in range(30)]
        pace = TellingPace(lanes=6, lanes_of_one=2, held_of_one=10, postponed_seconds=5.0, breath_seconds=0.0)
        async with telling(door, store, clock, pace=pace):
            await wind(clock, lambda: all(door.of(job) == [1, 2, 3] for job in fast))
            assert not any(door.of(job) for job in slow)
            assert clock.monotonic() < 30
            door.held["slow"].set()
            await wind(clock, lambda: all(door.of(job) == [1, 2, 3] for job in slow), step=5)

    async def test_one_failing_job_does_not_hold_up_the_others_of_its_target(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        bad = await completed(store, door, target="one")
        good = [await completed(store, door, target="one") for _ in range(5)]
        door.answers = [lambda job, events: Told(0, "no") if job.id == bad.id else taken(job, events)]
        async with telling(door, store, clock):
            await until(lambda: all(door.of(job) == [1, 2, 3] for job in good))


class TestCrashesAndTroubles:
    """Told at least once, whatever happens in between."""

    async def test_what_was_told_and_not_written_down_is_told_again(
        self, door: Listener, store: MemoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await completed(store, door)
        died = asyncio.Event()

        async def dies(told: Sequence[Delivery]) -> None:
            died.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(store, "save_deliveries", dies)
            first = Teller(door, store, clock, pace=TellingPace(leave_seconds=0.0))
            async with asyncio.timeout(BOUND), first:
                await died.wait()
        assert (door.of(job), (await delivery(store, job)).seq) == ([1, 2, 3], 0)
        async with telling(door, store, clock):
            await until(lambda: door.of(job) == [1, 2, 3, 1, 2, 3])
            assert (await nothing_due(store, job)).seq == 3

    async def test_what_was_told_while_the_store_was_asked_is_not_told_by_that_answer(
        self, door: Listener, store: MemoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        door.gate.clear()
        job = await completed(store, door)
        real, asked, answer = store.undelivered, asyncio.Event(), asyncio.Event()

        async def slowly(name: str, *, limit: int = 100) -> list[Delivery]:
            found = await real(name, limit=limit)
            if door.at_once:
                asked.set()
                await answer.wait()
            return found

        monkeypatch.setattr(store, "undelivered", slowly)
        async with telling(door, store, clock) as teller:
            await until(lambda: door.at_once == 1)
            teller.wake()
            await asked.wait()
            door.gate.set()
            await nothing_due(store, job)
            await until(lambda: not teller._busy)
            answer.set()
            await asyncio.sleep(0.05)
            assert door.of(job) == [1, 2, 3]

    async def test_a_store_that_does_not_answer_is_reported_once_and_asked_again(
        self,
        door: Listener,
        store: MemoryStore,
        clock: ManualClock,
        told: Heard,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        job = await completed(store, door)

        async def away(*_: Any, **__: Any) -> list[Delivery]:
            raise OSError("no database")

        with monkeypatch.context() as patch:
            patch.setattr(store, "undelivered", away)
            async with telling(door, store, clock) as teller:
                await wind(clock, lambda: told.of("duty.failed"))
                teller.wake()
                await clock.advance(10)
                assert [fields["duty"] for fields in told.of("duty.failed")] == ["tell:listener"]
                patch.undo()
                await wind(clock, lambda: door.of(job) == [1, 2, 3])

    async def test_a_write_that_fails_leaves_it_due(
        self, door: Listener, store: MemoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await completed(store, door)
        real, failures = store.save_deliveries, [OSError("no database")]

        async def once(told: Sequence[Delivery]) -> None:
            if failures:
                raise failures.pop()
            await real(told)

        monkeypatch.setattr(store, "save_deliveries", once)
        async with telling(door, store, clock):
            await wind(clock, lambda: door.of(job) == [1, 2, 3, 1, 2, 3])
            assert (await nothing_due(store, job)).seq == 3

    async def test_only_the_leader_tells(self, door: Listener, store: MemoryStore, clock: ManualClock) -> None:
        leads = False
        job = await completed(store, door)
        async with telling(door, store, clock, leads=lambda: leads) as teller:
            await clock.advance(30)
            assert door.told == []
            leads = True
            teller.wake()
            await until(lambda: door.of(job) == [1, 2, 3])

    async def test_who_no_longer_leads_drops_what_still_waits_for_a_lane(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        leads = True
        door.gate.clear()
        jobs = [await completed(store, door) for _ in range(3)]
        async with telling(door, store, clock, leads=lambda: leads, pace=TellingPace(lanes=1)) as teller:
            await until(lambda: door.at_once == 1)
            leads = False
            door.gate.set()
            await until(lambda: not teller._busy)
        assert sum(bool(door.of(job)) for job in jobs) == 1

    async def test_what_is_on_its_way_when_the_gateway_leaves_may_arrive(
        self, door: Listener, store: MemoryStore, clock: ManualClock
    ) -> None:
        door.gate.clear()
        job = await completed(store, door)
        async with asyncio.timeout(BOUND):
            teller = Teller(door, store, clock)
            await teller.start()
            await until(lambda: door.at_once == 1)
            leaving = asyncio.create_task(teller.stop())
            await asyncio.sleep(0.01)
            door.gate.set()
            await leaving
        assert (await delivery(store, job)).seq == 3

    async def test_a_row_of_failures_is_told_once_and_so_is_its_end(
        self, door: Listener, store: MemoryStore, clock: ManualClock, told: Heard
    ) -> None:
        door.answers = [refused(), refused(), refused(), taken]
        job = await completed(store, door, target="here")
        async with telling(door, store, clock):
            await wind(clock, lambda: told.of("delivery.restored"))
        (failed,) = told.of("delivery.failed")
        assert (failed["door"], failed["target"], failed["job"], failed["error"]) == (
            "listener",
            "here",
            job.id,
            "it is away",
        )
        outcomes = [fields["outcome"] for fields in told.of("delivery.tried")]
        assert outcomes == ["failed", "failed", "failed", "taken"]
