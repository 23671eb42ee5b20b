"""The worker takes what its ready models can take, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.runtime.rig import CRASH, Gate, endless, ends, rig

from glowplug.clock import ManualClock
from glowplug.errors import TaskFailed
from glowplug.job import JobState, OutcomeKind
from glowplug.link import OrderKind
from glowplug.process.call import CallEnd


async def test_a_queued_job_is_claimed_run_and_completed_with_its_result(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        job = await it.submit_one(input={"text": "hello"})
        ended = await it.ended(job)
        assert (ended.state, ended.result) == (JobState.COMPLETED, {"text": "hello"})
        assert await it.types(job) == ["queued", "started", "completed"]


async def test_a_job_queued_before_the_model_is_ready_waits_and_runs_as_soon_as_it_is(tmp_path: Path) -> None:
    async with rig(tmp_path, ready=False) as it:
        job = await it.submit_one()
        it.host.component.begin()
        await it.events.until("worker.registered")
        assert (await it.job(job)).state is JobState.QUEUED
        it.host.component.ready()
        assert (await it.ended(job)).state is JobState.COMPLETED


async def test_nothing_is_claimed_while_the_model_is_not_ready(tmp_path: Path) -> None:
    async with rig(tmp_path, ready=False) as it:
        it.host.component.begin()
        await it.events.until("worker.registered")
        assert it.gateway.desk.free_slots("echo.say") == 0
        await it.submit(count=3)
        assert [name for name in it.events.names() if name == "job.started"] == []


async def test_a_grant_that_meets_a_model_gone_meanwhile_is_given_back_uncounted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        # The desk hears of it only after its answer: the claim brings a job that nobody here can run.
        await it.worker_waits()
        it.link.drop_requests("register", 1_000)
        it.host.component.fail("out of memory")
        job = await it.submit_one()
        (requeued,) = await it.told(job, "requeued")
        assert requeued.data["reason"] == "interrupted"
        found = await it.job(job)
        assert (found.state, found.spent.errors, found.spent.crashes) == (JobState.QUEUED, 0, 0)
        assert it.host.calls == []


async def test_as_many_jobs_run_at_once_as_there_are_slots(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 3}) as it:
        it.host.script = gate = Gate()
        jobs = await it.submit(count=7)
        await it.host.called(3)
        running = [job for job in jobs if (await it.job(job)).state is JobState.RUNNING]
        assert len(running) == 3
        gate.open.set()
        assert {(await it.ended(job)).state for job in jobs} == {JobState.COMPLETED}
        assert it.host.most_at_once == 3


async def test_every_job_of_a_crowd_runs_once(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 10}) as it:
        jobs = await it.submit(count=300)
        results = [(await it.ended(job)).result for job in jobs]
        assert results == [{"n": n} for n in range(300)]
        assert len(it.host.calls) == 300


async def test_a_model_that_becomes_ready_later_is_served_by_the_claim_that_waits(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 1, "late": 1}, ready=False) as it:
        echo, late = it.hosts
        echo.load()
        await it.worker_waits()
        late.load()
        job = await it.submit_one("late.say")
        assert (await it.ended(job)).state is JobState.COMPLETED


async def test_one_failing_model_does_not_hold_back_the_other(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 1, "broken": 1}) as it:
        _, broken = it.hosts
        broken.script = ends(CallEnd(OutcomeKind.FAILED, error=TaskFailed("no", retryable=False)))
        failing = await it.submit("broken.say", count=5)
        fine = await it.submit("echo.say", count=5)
        assert {(await it.ended(job)).state for job in failing} == {JobState.FAILED}
        assert {(await it.ended(job)).state for job in fine} == {JobState.COMPLETED}


async def test_a_model_that_cannot_load_leaves_its_jobs_queued_and_the_other_model_working(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 1, "broken": 1}, ready=False) as it:
        echo, broken = it.hosts
        echo.load()
        broken.component.begin()
        broken.component.fail("no such file")
        waiting = await it.submit_one("broken.say")
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED
        assert (await it.job(waiting)).state is JobState.QUEUED


async def test_a_poison_job_fails_when_its_crash_budget_is_spent_and_its_history_is_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(CRASH)
        ended = await it.ended(await it.submit_one())
        assert (ended.state, ended.attempt) == (JobState.FAILED, 3)
        assert [attempt.outcome for attempt in ended.attempts] == [OutcomeKind.CRASHED] * 3
        assert ended.failure is not None
        assert (ended.failure.code, ended.failure.details["exit"]) == ("model_crashed", -11)


async def test_jobs_that_a_sibling_took_down_are_run_again_uncounted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(*[CallEnd(OutcomeKind.DISPLACED)] * 5, CallEnd(OutcomeKind.COMPLETED, b'"at last"'))
        ended = await it.ended(await it.submit_one())
        assert (ended.result, ended.spent.crashes, ended.spent.interruptions) == ("at last", 0, 5)


async def test_errors_are_tried_again_up_to_the_budget(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(
            CallEnd(OutcomeKind.FAILED, error=TaskFailed("flaky", error_class="OSError")),
            CallEnd(OutcomeKind.COMPLETED, b"7"),
        )
        ended = await it.ended(await it.submit_one())
        assert (ended.result, ended.attempt, ended.attempts[0].failure.code) == (7, 2, "OSError")


async def test_a_result_that_is_not_json_fails_the_job_for_good(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(CallEnd(OutcomeKind.COMPLETED, b"{nonsense"))
        ended = await it.ended(await it.submit_one())
        assert (ended.state, ended.attempt) == (JobState.FAILED, 1)


async def test_a_fault_of_ours_in_one_job_ends_that_job_and_the_worker_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def broken(run: object) -> CallEnd:
            raise ZeroDivisionError("a bug")

        good, it.host.script = it.host.script, broken
        failed = await it.submit_one(budget_errors=1)
        ended = await it.ended(failed)
        assert (ended.state, ended.failure.code) == (JobState.FAILED, "bug")
        it.host.script = good
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED


async def test_a_load_order_starts_a_model_that_was_not_started(tmp_path: Path) -> None:
    async with rig(tmp_path, ready=False) as it:
        job = await it.submit_one()
        await it.events.until("worker.registered")
        it.order(OrderKind.LOAD, "echo")
        assert (await it.ended(job)).state is JobState.COMPLETED


async def test_a_retry_order_loads_a_failed_model_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.component.fail("no luck")
        it.order(OrderKind.RETRY, "echo")
        job = await it.submit_one()
        assert (await it.ended(job)).state is JobState.COMPLETED
        assert it.host.reloads == 1


async def test_an_order_for_a_model_that_has_nothing_to_retry_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.order(OrderKind.RETRY, "echo")
        it.order(OrderKind.RETRY, "nobody")
        it.order(OrderKind.CANCEL, "no such job")
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED


async def test_what_an_earlier_process_left_in_the_scratch_folder_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "0123-1"
    left.mkdir(parents=True)
    (left / "half.bin").write_bytes(b"x")
    (tmp_path / "scratch" / "stray").write_text("x")
    async with rig(tmp_path) as it:
        assert list(it.scratch.iterdir()) == []


async def test_a_loop_that_dies_closes_the_worker_with_its_error(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def broken() -> None:
            raise ZeroDivisionError("a bug in a loop")

        it.worker._loop(broken(), "test")
        with pytest.raises(ZeroDivisionError, match="a bug in a loop"):
            await asyncio.wait_for(it.worker.wait_closed(), 10)


async def test_a_worker_can_be_stopped_at_once_whatever_runs(tmp_path: Path) -> None:
    async with rig(tmp_path, clock=ManualClock()) as it:
        it.host.script = endless
        await it.submit_one()
        await it.host.called()
        await it.worker.stop()
        assert it.worker.job_count == 0
