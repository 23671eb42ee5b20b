"""Canceling, losing and leaving, in every state that a job can be in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from tests.unit.runtime.rig import QUICK, Gate, Running, done, endless, piece, rig, saved_file

from glowplug.artifact import Artifact
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import ManualClock
from glowplug.job import JobState, Note, OutcomeKind
from glowplug.link import OrderKind
from glowplug.process.call import CallEnd


class Slow(DiskArtifacts):
    """Artifacts whose reads and writes wait for `go`; `asked` is set when somebody waits."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.slow = ""

    async def _wait(self, call: str) -> None:
        if call == self.slow:
            self.asked.set()
            await self.go.wait()

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        await self._wait("put")
        return await super().put(key, chunks, media_type=media_type)

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        await self._wait("read")
        async for chunk in super().read(key, start=start, end=end):
            yield chunk


async def slowly_saving(run: Running) -> CallEnd:
    artifact, path = saved_file(run, "a.txt", b"x")
    await run.sink.saved(artifact, path)
    return CallEnd(OutcomeKind.COMPLETED, b'"saved"', (artifact,))


# Cancel.


async def test_a_running_job_is_canceled_by_an_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = endless
        job = await it.submit_one()
        run = await it.host.called()
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.CANCELED
        assert it.host.stopped == [(run.call.id, OutcomeKind.CANCELED)]
        assert await it.types(job) == ["queued", "started", "canceling", "canceled"]


async def test_a_job_is_canceled_while_its_files_are_on_their_way(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        await artifacts.put("inputs/1/cat.png", piece(b"cat"))
        artifacts.slow = "read"
        job = await it.submit_one(input={"image": "artifact:inputs/1/cat.png"})
        await artifacts.asked.wait()
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.CANCELED
        assert it.host.calls == []


async def test_a_job_that_waits_for_a_slot_taken_by_a_direct_call_can_be_canceled(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = endless
        await it.worker_waits()
        await it.host._places.acquire()
        job = await it.submit_one()
        await it.host.called()
        await it.gateway.ledger.cancel(job.id)
        it.host._places.release()
        assert (await it.ended(job)).state is JobState.CANCELED


async def test_a_cancel_that_comes_while_the_result_is_being_stored_is_too_late(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        artifacts.slow, it.host.script = "put", slowly_saving
        job = await it.submit_one()
        await artifacts.asked.wait()
        await it.gateway.ledger.cancel(job.id)
        await it.told(job, "canceling")
        artifacts.go.set()
        assert ((await it.ended(job)).state, (await it.job(job)).result) == (JobState.COMPLETED, "saved")


async def test_a_cancel_that_comes_while_the_end_is_on_its_way_is_too_late(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.link.drop_requests("finish", 3)
        job = await it.submit_one()
        await it.events.until("link.lost")
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.COMPLETED


async def test_a_job_canceled_while_its_worker_crashes_is_not_run_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            await run.stop.wait()
            return CallEnd(OutcomeKind.CRASHED)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.CANCELED
        assert len(it.host.calls) == 1


async def test_a_task_that_ends_well_although_it_was_canceled_is_completed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            await run.stop.wait()
            return await done(run)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.COMPLETED


async def test_a_job_is_told_to_stop_only_once_however_often_that_is_asked(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        gate = Gate()

        async def script(run: Running) -> CallEnd:
            await run.stop.wait()
            await gate.open.wait()
            return CallEnd(OutcomeKind.CANCELED)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        await it.gateway.ledger.cancel(job.id)
        await it.told(job, "canceling")
        it.order(OrderKind.CANCEL, job.id)
        it.order(OrderKind.REGISTER)
        gate.open.set()
        assert (await it.ended(job)).state is JobState.CANCELED
        assert len(it.host.stopped) == 1


# Loss of the lease.


async def test_a_job_whose_lease_was_taken_away_is_stopped_and_its_work_thrown_away(tmp_path: Path) -> None:
    async with rig(tmp_path, lease_seconds=0.6) as it:
        it.host.script = endless
        job = await it.submit_one()
        await it.host.called()
        it.host.script = done
        await it.take_away()
        assert (await it.ended(job)).attempt == 2
        assert [kind for _, kind in it.host.stopped] == [OutcomeKind.CANCELED]
        await it.events.until("job.lease_lost", job=job.id)
        assert (await it.types(job)).count("completed") == 1


async def test_a_result_that_comes_after_the_lease_was_taken_away_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = gate = Gate()
        job = await it.submit_one()
        await it.host.called()
        await it.take_away()
        gate.open.set()
        ended = await it.ended(job)
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 2)
        assert [attempt.outcome for attempt in ended.attempts] == [OutcomeKind.LOST, OutcomeKind.COMPLETED]
        await it.events.until("job.lease_lost", job=job.id)


async def test_notes_that_come_after_the_lease_was_taken_away_stop_the_job(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        go = asyncio.Event()

        async def script(run: Running) -> CallEnd:
            await go.wait()
            await run.sink.note(Note("metrics", {"epoch": 1}))
            await run.sink.note(Note("metrics", {"epoch": 2}))
            return await endless(run)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        await it.take_away()
        it.host.script = done
        go.set()
        assert (await it.ended(job)).attempt == 2
        assert "metrics" not in await it.types(job)


async def test_files_of_a_lost_attempt_are_not_waited_for(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts, lease_seconds=0.6) as it:
        artifacts.slow, it.host.script = "put", slowly_saving
        job = await it.submit_one()
        await artifacts.asked.wait()
        it.host.script = done
        await it.take_away()
        ended = await it.ended(job)
        assert (ended.attempt, ended.artifacts) == (2, ())


# Leaving.


async def test_a_drain_interrupts_what_runs_and_its_jobs_are_queued_again_uncounted(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 2}) as it:
        it.host.script = endless
        jobs = await it.submit(count=2)
        await it.host.called(2)
        await it.worker.drain("test")
        assert {kind for _, kind in it.host.stopped} == {OutcomeKind.INTERRUPTED}
        for job in jobs:
            found = await it.job(job)
            assert (found.state, found.spent.crashes, found.spent.errors) == (JobState.QUEUED, 0, 0)
            assert found.spent.interruptions == 1
        await asyncio.wait_for(it.worker.wait_closed(), 10)


async def test_a_drained_worker_takes_nothing_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.worker_waits()
        await it.worker.drain("test")
        job = await it.submit_one()
        assert it.gateway.desk.free_slots("echo.say") == 0
        assert (await it.job(job)).state is JobState.QUEUED
        await it.events.until("worker.status", status="draining")


async def test_a_task_makes_its_checkpoint_when_the_worker_leaves(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            await run.stop.wait()
            assert run.kind is OutcomeKind.INTERRUPTED
            path = run.call.scratch / "state"
            path.parent.mkdir(parents=True)
            path.write_text("half-way")
            await run.sink.checkpoint(5, path)
            return CallEnd(OutcomeKind.INTERRUPTED)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        await it.worker.drain("spot notice")
        found = await it.job(job)
        assert (found.state, found.checkpoint.step) == (JobState.QUEUED, 5)
        assert await it.types(job) == ["queued", "started", "checkpoint", "requeued"]


async def test_a_result_that_is_there_is_delivered_before_the_worker_leaves(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        artifacts.slow, it.host.script = "put", slowly_saving
        job = await it.submit_one()
        await artifacts.asked.wait()
        leaving = asyncio.create_task(it.worker.drain("test"))
        await it.events.until("worker.draining")
        artifacts.go.set()
        await leaving
        assert (await it.job(job)).state is JobState.COMPLETED


async def test_an_order_to_drain_is_obeyed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.worker_waits()
        it.order(OrderKind.DRAIN)
        await asyncio.wait_for(it.worker.wait_closed(), 10)
        assert (await it.events.until("worker.draining"))["reason"] == "order"


async def test_everybody_who_asks_for_the_drain_waits_for_the_same_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = endless
        await it.submit_one()
        await it.host.called()
        await asyncio.gather(it.worker.drain("one"), it.worker.drain("two"))
        assert it.events.names().count("worker.draining") == 1
        assert it.worker.job_count == 0


async def test_a_grant_that_arrives_while_the_worker_leaves_is_given_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.worker_waits()
        job = await it.submit_one()
        await it.worker.drain("test")
        found = await it.job(job)
        assert found.state in (JobState.QUEUED, JobState.COMPLETED)
        assert found.spent.crashes == 0


async def test_a_job_is_interrupted_while_its_files_are_on_their_way(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        await artifacts.put("inputs/1/cat.png", piece(b"cat"))
        artifacts.slow = "read"
        job = await it.submit_one(input={"image": "artifact:inputs/1/cat.png"})
        await artifacts.asked.wait()
        await it.worker.drain("test")
        assert ((await it.job(job)).state, it.host.calls) == (JobState.QUEUED, [])


async def test_a_drain_that_takes_too_long_frees_the_jobs_and_ends(tmp_path: Path) -> None:
    artifacts = Slow(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts, policy=replace(QUICK, drain_seconds=0.05)) as it:
        artifacts.slow, it.host.script = "put", slowly_saving
        job = await it.submit_one()
        await artifacts.asked.wait()
        await it.worker.drain("test")
        found = await it.job(job)
        assert (found.state, found.spent.interruptions, found.spent.crashes) == (JobState.QUEUED, 1, 0)


async def test_a_drain_ends_although_the_gateway_is_away(tmp_path: Path) -> None:
    async with rig(tmp_path, policy=replace(QUICK, drain_seconds=0.05), clock=ManualClock()) as it:
        it.host.script = endless
        await it.submit_one()
        await it.host.called()
        it.link.cut()
        leaving = asyncio.create_task(it.worker.drain("test"))
        while not leaving.done():
            await it.clock.advance(0.1)
        await asyncio.wait_for(it.worker.wait_closed(), 10)
