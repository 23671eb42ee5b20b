"""Conformance suite of `Store`: what callers make and read. What workers do is in `leases`, which this suite includes.

A test module makes a subclass of `StoreSuite` whose fixture `store` yields a started, empty store on the suite's
fixture `clock`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from glowplug.artifact import Artifact
from glowplug.clock import ManualClock
from glowplug.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from glowplug.job import Budget, JobRequest, JobState
from glowplug.store import Depth, JobFilter, ModelInfo, Store, TaskInfo, WorkerRecord
from glowplug.testing.leases import LeaseSuite
from glowplug.testing.lines import LineSuite
from glowplug.testing.telling import TellingSuite
from glowplug.testing.work import claim, complete, fail_for_good, queue, request, types

HOSTILE_TEXTS = ["'; DROP TABLE jobs; --", "%", "_", "ünïcödé ✓", "a\nb", "", "\\", '"', "\x7f"]


class StoreSuite(LeaseSuite, LineSuite, TellingSuite):
    """What every store does."""

    # Submitting.

    async def test_a_submitted_job_reads_back_as_it_was_asked_for(self, store: Store, clock: ManualClock) -> None:
        asked = JobRequest(
            task="digits.generate",
            input={"text": "seven ✓", "nested": {"list": [1, 2.5, None, True]}},
            owner="ann",
            key="k-1",
            priority=7,
            run_at=clock.now() + timedelta(seconds=5, microseconds=17),
            webhook="https://example.org/hook",
            metadata={"colour": "blue"},
            batch_id="b-1",
            budget=Budget(errors=1, crashes=2, retry_base_seconds=0.5, retry_cap_seconds=9.0),
            expires_at=clock.now() + timedelta(seconds=7, microseconds=19),
            stride=12345,
        )
        (submission,) = await store.submit([asked])
        assert submission.created
        job = await store.job(submission.job.id)
        assert job == submission.job
        assert (job.task, job.input, job.owner, job.key) == (asked.task, asked.input, asked.owner, asked.key)
        assert (job.priority, job.run_at, job.webhook) == (asked.priority, asked.run_at, asked.webhook)
        assert (job.metadata, job.batch_id, job.budget) == (asked.metadata, asked.batch_id, asked.budget)
        assert (job.expires_at, job.stride) == (asked.expires_at, asked.stride)
        assert (job.state, job.created_at, job.token, job.attempt) == (JobState.QUEUED, clock.now(), 0, 0)

    async def test_a_new_job_has_one_event_which_says_that_it_is_queued(self, store: Store) -> None:
        job = await queue(store)
        assert await types(store, job.id) == ["queued"]

    async def test_nothing_submitted_is_nothing_queued(self, store: Store) -> None:
        assert await store.submit([]) == []
        assert (await store.jobs(JobFilter())).jobs == ()

    async def test_what_the_caller_changes_later_does_not_change_the_job(self, store: Store) -> None:
        values: dict[str, Any] = {"list": [1]}
        job = await queue(store, input=values, metadata=values)
        values["list"].append(2)
        stored = await store.job(job.id)
        assert (stored.input, stored.metadata) == ({"list": [1]}, {"list": [1]})

    async def test_the_same_key_and_request_is_the_same_job(self, store: Store) -> None:
        first, second = [await store.submit([request(key="k")]) for _ in range(2)]
        assert (first[0].created, second[0].created) == (True, False)
        assert first[0].job == second[0].job
        assert await types(store, first[0].job.id) == ["queued"]

    async def test_the_same_key_with_another_request_is_refused_and_nothing_is_queued(self, store: Store) -> None:
        await queue(store, key="k", input={"n": 1})
        with pytest.raises(IdempotencyMismatch):
            await store.submit([request(), request(key="k", input={"n": 2})])
        assert len((await store.jobs(JobFilter())).jobs) == 1

    async def test_a_key_belongs_to_its_owner(self, store: Store) -> None:
        ann, bob = await store.submit([request(owner="ann", key="k"), request(owner="bob", key="k", input={"n": 2})])
        assert ann.created
        assert bob.created

    async def test_a_key_twice_in_one_call_is_one_job(self, store: Store) -> None:
        first, second = await store.submit([request(key="k"), request(key="k")])
        assert (first.created, second.created) == (True, False)
        assert first.job.id == second.job.id

    async def test_one_key_with_two_requests_in_one_call_queues_neither(self, store: Store) -> None:
        with pytest.raises(IdempotencyMismatch):
            await store.submit([request(key="k", input={"n": 1}), request(key="k", input={"n": 2})])
        assert (await store.jobs(JobFilter())).jobs == ()

    async def test_two_submits_at_once_with_one_key_make_one_job(self, store: Store) -> None:
        answers = await asyncio.gather(*(store.submit([request(key="k")]) for _ in range(20)))
        assert sum(answer[0].created for answer in answers) == 1
        assert len({answer[0].job.id for answer in answers}) == 1

    async def test_a_key_still_counts_when_its_job_has_ended(self, store: Store) -> None:
        job = await queue(store, key="k")
        await complete(store, await claim(store))
        (again,) = await store.submit([request(key="k")])
        assert (again.created, again.job.id, again.job.state) == (False, job.id, JobState.COMPLETED)

    @pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), float("inf"), "\ud800", {(1, 2): 3}])
    @pytest.mark.parametrize("name", ["input", "metadata"])
    async def test_what_json_cannot_say_is_refused(self, store: Store, name: str, value: object) -> None:
        with pytest.raises(InvalidInput) as caught:
            await store.submit([request(), request(**{name: {"value": value}})])
        assert caught.value.data["fields"] == [name]
        assert (await store.jobs(JobFilter())).jobs == ()

    @pytest.mark.parametrize("name", ["run_at", "expires_at"])
    async def test_a_time_without_a_zone_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            await queue(store, **{name: datetime(2026, 1, 1)})  # noqa: DTZ001
        assert caught.value.data["fields"] == [name]

    @pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -14)])
    async def test_a_time_beyond_the_calendar_is_refused_and_nothing_is_queued(
        self, store: Store, year: int, hours: int
    ) -> None:
        last_day = datetime(year, 12 if hours < 0 else 1, 31 if hours < 0 else 1, 12, tzinfo=UTC)
        with pytest.raises(InvalidInput):
            await queue(store, run_at=last_day.replace(tzinfo=timezone(timedelta(hours=hours))))
        assert (await store.jobs(JobFilter())).jobs == ()

    async def test_a_time_in_another_zone_is_the_same_moment(self, store: Store, clock: ManualClock) -> None:
        there = clock.now().astimezone(timezone(timedelta(hours=5, minutes=30)))
        job = await queue(store, run_at=there)
        assert (await store.job(job.id)).run_at == clock.now()

    @pytest.mark.parametrize("name", ["task", "owner", "key", "batch_id", "webhook"])
    @pytest.mark.parametrize("text", ["half a pair: \ud800", "a\x00b"])
    async def test_a_text_that_is_no_text_is_refused(self, store: Store, name: str, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            await store.submit([request(**{name: text})])
        assert caught.value.data["fields"] == [name]

    async def test_a_priority_out_of_range_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInput):
            await queue(store, priority=2**40)

    @pytest.mark.parametrize("text", HOSTILE_TEXTS)
    async def test_text_is_text_whatever_it_looks_like(self, store: Store, text: str) -> None:
        await queue(store, task="other.task")
        job = await queue(store, task=f"t.{text}", owner=text, key=f"k{text}", batch_id=text, input={text: text})
        assert await store.job(job.id) == job
        page = await store.jobs(JobFilter(task=f"t.{text}", owner=text, batch_id=text))
        assert [found.id for found in page.jobs] == [job.id]

    async def test_a_large_input_reads_back(self, store: Store) -> None:
        job = await queue(store, input={"text": "x" * 1_000_000})
        assert len((await store.job(job.id)).input["text"]) == 1_000_000

    # Reading.

    @pytest.mark.parametrize("job_id", ["", "nope", "'; --", "x" * 500, "a\x00b"])
    async def test_an_unknown_job_is_not_found(self, store: Store, job_id: str) -> None:
        for ask in (store.job, store.cancel, store.retry):
            with pytest.raises(NotFound):
                await ask(job_id)
        assert await store.position(job_id) is None
        assert await store.events(job_id) == []

    async def test_events_go_on_after_a_number(self, store: Store) -> None:
        job = await queue(store)
        await complete(store, await claim(store))
        assert [event.seq for event in await store.events(job.id)] == [1, 2, 3]
        assert [event.seq for event in await store.events(job.id, after=1)] == [2, 3]
        assert [event.seq for event in await store.events(job.id, after=1, limit=1)] == [2]
        assert await store.events(job.id, after=3) == []
        assert [event.seq for event in await store.events(job.id, after=-5)] == [1, 2, 3]

    async def test_an_event_reads_back_with_its_time_and_data(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store)
        await clock.advance(1.5)
        await complete(store, await claim(store), result={"ok": [1, None]})
        last = (await store.events(job.id))[-1]
        assert (last.job_id, last.type, last.at) == (job.id, "completed", clock.now())
        assert last.data == {"result": {"ok": [1, None]}}

    async def test_jobs_are_listed_newest_first(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 5)
        assert [job.id for job in (await store.jobs(JobFilter())).jobs] == made[::-1]

    async def test_pages_follow_each_other_without_gap_or_repeat(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 4)
        made += [submission.job.id for submission in await store.submit([request() for _ in range(3)])]
        seen, cursor = [], None
        for _ in range(4):
            page = await store.jobs(JobFilter(), cursor=cursor, limit=2)
            seen += [job.id for job in page.jobs]
            cursor = page.next_cursor
        assert cursor is None
        assert sorted(seen) == sorted(made)
        assert seen[3:] == made[3::-1]

    async def test_a_page_is_not_disturbed_by_newer_jobs(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 3)
        page = await store.jobs(JobFilter(), limit=1)
        await queue(store)
        rest = await store.jobs(JobFilter(), cursor=page.next_cursor)
        assert [job.id for job in rest.jobs] == [made[1], made[0]]

    async def test_the_last_page_has_no_cursor_even_when_it_is_full(self, store: Store, clock: ManualClock) -> None:
        await self.several(store, clock, 2)
        assert (await store.jobs(JobFilter(), limit=2)).next_cursor is None

    @pytest.mark.parametrize("cursor", ["", "x", "1", "1-", "-1-ab", "1-'", "9" * 40 + "-ab", "1-ab\n", "٣-ab"])
    async def test_a_cursor_that_is_not_ours_is_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(InvalidInput):
            await store.jobs(JobFilter(), cursor=cursor)

    async def test_a_list_is_narrowed_by_each_field(self, store: Store) -> None:
        a = await queue(store, task="m.a", owner="ann", batch_id="b1")
        b = await queue(store, task="m.b", owner="ann")
        c = await queue(store, task="m.b", owner="bob", batch_id="b1")

        async def found(where: JobFilter) -> set[str]:
            return {job.id for job in (await store.jobs(where)).jobs}

        assert await found(JobFilter(task="m.b")) == {b.id, c.id}
        assert await found(JobFilter(owner="ann")) == {a.id, b.id}
        assert await found(JobFilter(batch_id="b1")) == {a.id, c.id}
        assert await found(JobFilter(task="m.b", owner="bob", batch_id="b1")) == {c.id}
        assert await found(JobFilter(task="m.c")) == set()

    async def test_a_job_is_found_by_its_owners_key(self, store: Store) -> None:
        ann, bob = await queue(store, owner="ann", key="k"), await queue(store, owner="bob", key="k")
        await queue(store, owner="ann")

        async def found(owner: str, key: str) -> list[str]:
            return [job.id for job in (await store.jobs(JobFilter(owner=owner, key=key))).jobs]

        assert await found("ann", "k") == [ann.id]
        assert await found("bob", "k") == [bob.id]
        assert await found("ann", "other") == []

    async def test_a_list_is_narrowed_by_states(self, store: Store, clock: ManualClock) -> None:
        completed, canceled, queued = await self.several(store, clock, 3)
        await complete(store, await claim(store))
        await store.cancel(canceled)

        async def found(*states: JobState, limit: int = 50) -> list[str]:
            return [job.id for job in (await store.jobs(JobFilter(states=states), limit=limit)).jobs]

        assert await found(JobState.QUEUED) == [queued]
        assert await found(JobState.COMPLETED, JobState.QUEUED) == [queued, completed]
        assert await found(*JobState, limit=2) == [queued, canceled]
        assert await found(JobState.RUNNING) == []
        assert await found() == []

    async def test_a_list_is_narrowed_by_time(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 3)
        middle = (await store.job(made[1])).created_at
        after = await store.jobs(JobFilter(created_after=middle))
        before = await store.jobs(JobFilter(created_before=middle))
        assert [job.id for job in after.jobs] == [made[2]]
        assert [job.id for job in before.jobs] == [made[0]]

    async def test_pages_of_several_states_follow_each_other(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 6)
        await store.cancel(made[1])
        await store.cancel(made[4])
        where = JobFilter(states=(JobState.QUEUED, JobState.CANCELED))
        seen, cursor = [], None
        for _ in range(3):
            page = await store.jobs(where, cursor=cursor, limit=2)
            seen += [job.id for job in page.jobs]
            cursor = page.next_cursor
        assert (seen, cursor) == (made[::-1], None)

    # The place in the queue.

    async def test_a_job_knows_how_many_are_ahead(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 3)
        urgent = await queue(store, priority=5)
        await queue(store, task="other.task", priority=9)
        assert [await store.position(job_id) for job_id in (urgent.id, *made)] == [0, 1, 2, 3]

    async def test_jobs_for_later_are_not_ahead(self, store: Store, clock: ManualClock) -> None:
        later = await queue(store, priority=9, run_at=clock.now() + timedelta(hours=1))
        job = await queue(store)
        assert await store.position(job.id) == 0
        await clock.advance(3600)
        assert await store.position(job.id) == 1
        assert await store.position(later.id) == 0

    async def test_a_position_is_counted_up_to_the_limit(self, store: Store, clock: ManualClock) -> None:
        made = await self.several(store, clock, 5)
        assert [await store.position(job_id, limit=3) for job_id in made] == [0, 1, 2, 3, 3]

    async def test_only_a_queued_job_has_a_position(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store)
        await claim(store)
        later = await queue(store, run_at=clock.now() + timedelta(seconds=1))
        await clock.advance(1)
        assert await store.position(job.id) is None
        assert (await store.job(later.id)).turn is None, "who asks of a job that does not wait gives no other its turn"

    async def test_depths_count_what_waits_what_is_due_and_what_runs(self, store: Store, clock: ManualClock) -> None:
        assert await store.depths() == {}
        await store.submit([request(task="m.a") for _ in range(3)])
        await queue(store, task="m.a", run_at=clock.now() + timedelta(hours=1))
        await queue(store, task="m.later", run_at=clock.now() + timedelta(hours=1))
        await queue(store, task="m.gone")
        await complete(store, await claim(store, "m.gone"))
        await claim(store, "m.a")
        await clock.advance(2.5)
        assert await store.depths() == {
            "m.a": Depth(queued=3, due=2, running=1, oldest_seconds=2.5),
            "m.later": Depth(queued=1),
        }

    async def test_the_next_due_time_is_told_in_seconds(self, store: Store, clock: ManualClock) -> None:
        assert await store.next_due_seconds(["m.a", "m.b"]) is None
        await queue(store, task="m.a", run_at=clock.now() + timedelta(seconds=30))
        await queue(store, task="m.b", priority=3, run_at=clock.now() + timedelta(seconds=40))
        await queue(store, task="m.b", run_at=clock.now() + timedelta(seconds=20))
        assert await store.next_due_seconds(["m.a", "m.b"]) == 20
        assert await store.next_due_seconds(["m.a"]) == 30
        await clock.advance(25)
        assert await store.next_due_seconds(["m.a", "m.b"]) == 0
        assert await store.next_due_seconds([]) is None

    # Canceling, sending again, cleaning.

    async def test_a_queued_job_is_canceled_at_once(self, store: Store) -> None:
        job = await queue(store)
        assert (await store.cancel(job.id)).state is JobState.CANCELED
        assert await claim(store) == []
        assert await types(store, job.id) == ["queued", "canceled"]

    async def test_an_ended_job_cannot_be_canceled(self, store: Store) -> None:
        job = await queue(store)
        await complete(store, await claim(store))
        with pytest.raises(Conflict):
            await store.cancel(job.id)
        assert await types(store, job.id) == ["queued", "started", "completed"]

    async def test_a_failed_job_can_be_sent_again_with_its_history(self, store: Store) -> None:
        job = await queue(store)
        await fail_for_good(store, await claim(store))
        again = await store.retry(job.id)
        assert (again.state, again.spent.errors, again.token) == (JobState.QUEUED, 0, 1)
        (claimed,) = await claim(store)
        assert (claimed.token, claimed.attempt, len(claimed.attempts)) == (2, 2, 2)

    async def test_only_a_failed_or_canceled_job_can_be_sent_again(self, store: Store) -> None:
        job = await queue(store)
        with pytest.raises(Conflict):
            await store.retry(job.id)
        await complete(store, await claim(store))
        with pytest.raises(Conflict):
            await store.retry(job.id)

    async def test_old_ended_jobs_are_cleaned_with_their_events(self, store: Store, clock: ManualClock) -> None:
        old, new, queued = await self.several(store, clock, 3)
        picture = Artifact(f"jobs/{old}/1/a.png", 3, "0" * 64, "image/png")
        await complete(store, await claim(store), artifacts=(picture,))
        await clock.advance(60)
        await complete(store, await claim(store))
        cleaned = await store.clean(clock.now())
        assert [(job.id, job.artifacts) for job in cleaned] == [(old, (picture,))]
        assert await store.events(old) == []
        with pytest.raises(NotFound):
            await store.job(old)
        assert {job.id for job in (await store.jobs(JobFilter())).jobs} == {new, queued}

    async def test_cleaning_takes_the_oldest_first_and_no_more_than_asked(
        self, store: Store, clock: ManualClock
    ) -> None:
        made = await self.several(store, clock, 3)
        for _ in made:
            await complete(store, await claim(store))
            await clock.advance(1)
        assert [job.id for job in await store.clean(clock.now(), limit=2)] == made[:2]
        assert [job.id for job in await store.clean(clock.now(), limit=2)] == made[2:]
        assert await store.clean(clock.now()) == []

    async def test_a_key_is_free_again_once_its_job_is_cleaned(self, store: Store, clock: ManualClock) -> None:
        await queue(store, key="k", input={"n": 1})
        await complete(store, await claim(store))
        await clock.advance(1)
        await store.clean(clock.now())
        assert (await store.submit([request(key="k", input={"n": 2})]))[0].created

    async def test_a_job_that_runs_again_is_not_cleaned(self, store: Store, clock: ManualClock) -> None:
        job = await queue(store)
        await store.cancel(job.id)
        await store.retry(job.id)
        await clock.advance(60)
        assert await store.clean(clock.now()) == []

    # The registry.

    async def test_a_worker_is_written_over_and_forgotten(self, store: Store, clock: ManualClock) -> None:
        record = WorkerRecord(
            instance_id="w1",
            incarnation="i1",
            status="ready",
            last_seen=clock.now(),
            url="http://127.0.0.1:9",
            model_name="digits",
            load_time_seconds=1.5,
            snapshot={"components": [{"name": "digits", "progress": 0.5}]},
            models=("digits",),
        )
        await store.save_worker(WorkerRecord(instance_id="w1", last_seen=datetime(2026, 1, 1, tzinfo=UTC)))
        await store.save_worker(WorkerRecord(instance_id="w0", last_seen=clock.now()))
        await store.save_worker(record)
        assert [worker.instance_id for worker in await store.workers()] == ["w0", "w1"]
        assert (await store.workers())[1] == record
        assert await store.worker("w1") == record
        assert await store.worker("w2") is None
        await store.forget_worker("w0")
        await store.forget_worker("w0")
        assert await store.workers() == [record]

    async def test_a_model_is_written_over(self, store: Store) -> None:
        task = TaskInfo(name="m.a", input_schema={"type": "object"}, example={"n": 1}, timeout_seconds=2.5)
        await store.save_model(ModelInfo("n", "1", ()))
        await store.save_model(ModelInfo("m", "1", ()))
        await store.save_model(ModelInfo("m", "2", (task,)))
        assert await store.models() == [ModelInfo("m", "2", (task,)), ModelInfo("n", "1", ())]

    # Its life.

    async def test_stopping_twice_is_fine(self, store: Store) -> None:
        await store.stop()
        await store.stop()

    async def test_a_stopped_store_starts_again_with_what_it_had(self, store: Store) -> None:
        job = await queue(store)
        await store.stop()
        await store.start()
        assert await store.job(job.id) == job

    async def test_many_callers_at_once_all_get_their_own_answer(self, store: Store) -> None:
        asked = [request(input={"n": number}) for number in range(100)]
        answers = await asyncio.gather(*(store.submit([one]) for one in asked))
        assert [answer[0].job.input for answer in answers] == [one.input for one in asked]
        claims = await asyncio.gather(*(claim(store, slots=7, worker=f"w{number}") for number in range(30)))
        taken = [job.id for jobs in claims for job in jobs]
        assert sorted(taken) == sorted(answer[0].job.id for answer in answers)

    async def test_one_that_is_refused_harms_none_of_those_beside_it(self, store: Store) -> None:
        await queue(store, key="taken", input={"n": 0})
        asked = [request(key="taken" if number % 3 == 0 else f"k{number}", input={"n": number}) for number in range(30)]
        answers = await asyncio.gather(*(store.submit([one]) for one in asked), return_exceptions=True)
        refused = [number for number, answer in enumerate(answers) if isinstance(answer, IdempotencyMismatch)]
        assert refused == [3, 6, 9, 12, 15, 18, 21, 24, 27]
        stored = await store.jobs(JobFilter(), limit=100)
        assert sorted(job.input["n"] for job in stored.jobs) == sorted(set(range(30)) - set(refused))

    async def test_a_caller_that_gives_up_leaves_the_store_usable(self, store: Store) -> None:
        asking = [asyncio.create_task(store.submit([request(key=f"k{number}")])) for number in range(20)]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert all([(await store.submit([request(key=f"k{number}")]))[0].job for number in range(20)])
        assert len((await store.jobs(JobFilter())).jobs) == 20

    @staticmethod
    async def several(store: Store, clock: ManualClock, count: int) -> list[str]:
        """Queue jobs one after the other, a second apart, and return their ids."""
        made = []
        for _ in range(count):
            made.append((await queue(store)).id)
            await clock.advance(1)
        return made
