"""The gateway goes away and comes back: nothing that runs is stopped by that, and nothing is done twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.unit.runtime.rig import Gate, Rig, Running, done, endless, rig, saved_file

from glowplug.artifact import Artifact
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.gateway.service import Gateway
from glowplug.job import JobState, Note, OutcomeKind
from glowplug.process.call import CallEnd
from glowplug.runtime.policy import WorkerPolicy
from glowplug.store import Want


async def restart_gateway(it: Rig) -> None:
    """End the gateway and put a new one, which remembers nothing, before the same store."""
    it.link.cut()
    await it.gateway.stop()
    it.gateway = Gateway(it.gateway.parts)
    await it.gateway.start()
    it.link.connect_to(it.gateway.desk)


async def test_a_running_job_survives_the_restart_of_the_gateway(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = gate = Gate()
        job = await it.submit_one()
        await it.host.called()
        await restart_gateway(it)
        gate.open.set()
        await it.events.until("link.lost")
        assert (await it.job(job)).state is JobState.RUNNING
        it.link.mend()
        ended = await it.ended(job)
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 1)
        await it.events.until("link.restored")
        assert await it.types(job) == ["queued", "started", "completed"]
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED
        await it.gateway.stop()


async def test_a_gateway_that_has_forgotten_the_worker_is_told_of_it_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.worker_waits()
        await restart_gateway(it)
        it.link.mend()
        await it.worker_waits()
        assert [entry.record.instance_id for entry in it.gateway.registry] == ["w1"]
        await it.gateway.stop()


async def test_notes_and_the_end_are_kept_through_an_outage_and_told_in_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        go = asyncio.Event()

        async def script(run: Running) -> CallEnd:
            await go.wait()
            for epoch in range(5):
                await run.sink.note(Note("metrics", {"epoch": epoch}))
            return await done(run)

        it.host.script = script
        job = await it.submit_one()
        await it.host.called()
        it.link.cut()
        go.set()
        await it.events.until("link.lost")
        it.link.mend()
        await it.ended(job)
        assert await it.types(job) == ["queued", "started", *["metrics"] * 5, "completed"]


async def test_a_checkpoint_waits_for_the_gateway_to_come_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            path = run.call.scratch / "state"
            path.parent.mkdir(parents=True)
            path.write_text("half-way")
            it.link.cut()
            await run.sink.checkpoint(5, path)
            return await done(run)

        it.host.script = script
        job = await it.submit_one()
        await it.events.until("link.lost")
        assert (await it.job(job)).checkpoint is None
        it.link.mend()
        assert ((await it.ended(job)).state, (await it.job(job)).checkpoint.step) == (JobState.COMPLETED, 5)


async def test_a_grant_whose_answer_was_lost_is_free_at_once_and_not_counted_as_a_crash(tmp_path: Path) -> None:
    async with rig(tmp_path, clock=ManualClock()) as it:
        await it.worker_waits()
        it.link.drop_answers("claim")
        job = await it.submit_one()
        await it.told(job, "started")
        while (await it.job(job)).state is not JobState.COMPLETED:
            await it.clock.advance(0.01)
        ended = await it.job(job)
        assert it.clock.monotonic() < 5
        assert (ended.attempt, ended.spent.crashes) == (2, 0)
        assert [attempt.outcome for attempt in ended.attempts] == [OutcomeKind.INTERRUPTED, OutcomeKind.COMPLETED]
        assert len(it.host.calls) == 1


async def test_a_lost_grant_is_freed_while_other_jobs_of_the_worker_run_on(tmp_path: Path) -> None:
    async with rig(tmp_path, hosts={"echo": 2}) as it:
        it.host.script = gate = Gate()
        first = await it.submit_one()
        await it.host.called()
        await it.worker_waits()
        it.link.drop_answers("claim")
        second = await it.submit_one()
        await it.host.called(2)
        gate.open.set()
        ended = [await it.ended(job) for job in (first, second)]
        assert [(job.state, job.attempt) for job in ended] == [(JobState.COMPLETED, 1), (JobState.COMPLETED, 2)]
        assert len(it.host.calls) == 2


async def test_an_end_whose_answer_was_lost_is_told_again_and_counts_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.link.drop_answers("finish", 2)
        job = await it.submit_one()
        await it.ended(job)
        while it.worker.job_count:
            await asyncio.sleep(0)
        assert await it.types(job) == ["queued", "started", "completed"]
        assert "job.lease_lost" not in it.events.names()


async def test_a_registration_that_is_lost_is_repeated_before_anything_is_claimed(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it:
        it.link.drop_requests("register", 2)
        it.link.drop_answers("register", 2)
        async with it.worker:
            assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED
        assert it.events.names().count("worker.registered") == 1


async def test_an_outage_longer_than_the_lease_ends_the_run_and_the_job_is_run_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with rig(tmp_path, clock=clock, policy=WorkerPolicy(retry_cap_seconds=0.5)) as it:
        it.host.script = endless
        job = await it.submit_one()
        await it.host.called()
        await it.worker_is_known()
        it.link.cut()
        await clock.advance(49.5)
        assert it.host.stopped == []
        await clock.advance(1)
        assert [kind for _, kind in it.host.stopped] == [OutcomeKind.CANCELED]
        it.host.script = done
        it.link.mend()
        while not (await it.job(job)).done:
            await clock.advance(0.5)
        ended = await it.job(job)
        assert (ended.state, ended.attempt, ended.spent.crashes) == (JobState.COMPLETED, 2, 0)


async def test_a_result_that_waited_longer_than_the_lease_is_still_taken_if_nobody_else_has_the_job(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with rig(tmp_path, clock=clock, policy=WorkerPolicy(retry_cap_seconds=0.5)) as it:
        it.host.script = gate = Gate()
        job = await it.submit_one(input={"n": 1})
        await it.host.called()
        await it.worker_is_known()
        it.link.cut()
        gate.open.set()
        await clock.advance(55)
        it.link.mend()
        while not (await it.job(job)).done:
            await clock.advance(0.5)
        ended = await it.job(job)
        assert (ended.result, ended.attempt) == ({"n": 1}, 1)


async def test_a_result_that_waited_too_long_is_refused_once_somebody_else_has_the_job(tmp_path: Path) -> None:
    clock = ManualClock()
    async with rig(tmp_path, clock=clock, policy=WorkerPolicy(retry_cap_seconds=0.5)) as it:
        it.host.script = gate = Gate()
        job = await it.submit_one()
        await it.host.called()
        await it.worker_is_known()
        it.link.cut()
        gate.open.set()
        await clock.advance(65)
        await it.take_away()
        (stolen,) = await it.store.claim("w2", [Want(("echo.say",), 1)], timedelta(seconds=60))
        it.link.mend()
        await clock.advance(5)
        assert it.events.names().count("job.lease_lost") >= 1
        found = await it.job(job)
        assert (found.state, found.token, found.worker_id) == (JobState.RUNNING, stolen.token, "w2")


async def test_a_file_that_cannot_be_stored_during_an_outage_does_not_hold_the_job_beyond_its_lease(
    tmp_path: Path,
) -> None:
    clock = ManualClock()

    class Away(DiskArtifacts):
        async def put(self, *args: object, **kwargs: object) -> Artifact:
            raise Unreachable("the gateway is away")

    artifacts = Away(tmp_path / "artifacts")
    async with rig(tmp_path, clock=clock, policy=WorkerPolicy(retry_cap_seconds=0.5), artifacts=artifacts) as it:

        async def script(run: Running) -> CallEnd:
            artifact, path = saved_file(run, "a.txt", b"x")
            await run.sink.saved(artifact, path)
            return CallEnd(OutcomeKind.COMPLETED, b"1", (artifact,))

        it.host.script = script
        job = await it.submit_one()
        while not it.host.calls:
            await asyncio.sleep(0)
        await it.worker_is_known()
        it.link.cut()
        await clock.advance(49)
        assert it.worker.job_count == 1
        await clock.advance(2)
        it.host.script = done
        it.link.mend()
        while not (await it.job(job)).done:
            await clock.advance(0.5)
        assert ((await it.job(job)).attempt, (await it.job(job)).spent.crashes) == (2, 0)


async def test_the_state_of_the_link_is_said_once_for_each_change(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.worker_waits()
        it.link.cut()
        await it.events.until("link.lost")
        it.host.script = gate = Gate()
        gate.open.set()
        for _ in range(50):
            await asyncio.sleep(0.001)
        it.link.mend()
        await it.events.until("link.restored")
        await it.ended(await it.submit_one())
        names = it.events.names()
        assert (names.count("link.lost"), names.count("link.restored")) == (1, 1)
