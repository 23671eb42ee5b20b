"""The worker with real model processes: what a script cannot show."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.models.epochs import expected
from tests.unit.runtime.rig import QUICK, Rig, rig

from glowplug.job import JobState, OutcomeKind
from glowplug.process.host import Host
from glowplug.process.spec import HostSpec
from glowplug.readiness import Board
from glowplug.runtime.policy import WorkerIdentity
from glowplug.runtime.worker import Worker, WorkerParts

MODELS = Path(__file__).parents[2] / "models"


@asynccontextmanager
async def worker(it: Rig, model: str, name: str = "w1") -> AsyncIterator[tuple[Worker, Host]]:
    """Run a worker with one real model, beside the rig's own gateway."""
    board = Board(it.clock)
    host = Host(
        HostSpec(target=str(MODELS / f"{model}.py"), scratch=it.scratch / name / "host", cancel_grace_seconds=2.0),
        board.add(model, model=model),
        clock=it.clock,
    )
    made = Worker(
        WorkerParts(
            identity=WorkerIdentity(instance_id=name, incarnation=f"{name}-1"),
            hosts=[host],
            link=it.link,
            artifacts=it.artifacts,
            board=board,
            clock=it.clock,
            scratch=it.scratch / name / "jobs",
            policy=replace(QUICK, unsettled_jobs=32),
        )
    )
    async with asyncio.timeout(60), host, made:
        await board.wait_until_ready()
        yield made, host


def pid_of(it: Rig) -> int:
    """Return the process that runs the model now."""
    return [said["pid"] for name, said in it.events.seen if name == "model.spawned"][-1]


async def test_a_job_goes_through_a_real_process_and_back(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "echo"):
        job = await it.ended(await it.submit_one(input={"text": "grüß ", "times": 2}))
        assert (job.state, job.result) == (JobState.COMPLETED, "grüß grüß ")


async def test_bad_input_is_found_in_the_models_process_and_fails_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "echo"):
        job = await it.ended(await it.submit_one(input={"text": 5}))
        assert (job.state, job.attempt, job.failure.code) == (JobState.FAILED, 1, "invalid_input")


async def test_training_goes_on_from_its_checkpoint_after_its_process_was_killed(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "epochs"):
        job = await it.submit_one("epochs.train", input={"epochs": 8, "seconds": 0.02, "name": "x"})
        await it.told(job, "checkpoint", 3)
        os.kill(pid_of(it), signal.SIGKILL)
        ended = await it.ended(job)
        assert (ended.state, ended.result) == (JobState.COMPLETED, expected("x", 8))
        assert [attempt.outcome for attempt in ended.attempts] == [OutcomeKind.CRASHED, OutcomeKind.COMPLETED]
        (resumed,) = await it.told(job, "resumed")
        assert resumed.data["step"] >= 3
        epochs = [event.data["epoch"] for event in await it.told(job, "metrics")]
        assert epochs[: resumed.data["step"]] == list(range(1, resumed.data["step"] + 1))


async def test_training_moves_to_another_worker_when_its_own_leaves(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "epochs") as (first, _):
        job = await it.submit_one("epochs.train", input={"epochs": 12, "seconds": 0.05, "name": "y"})
        await it.told(job, "checkpoint", 2)
        async with worker(it, "epochs", "w2"):
            await first.drain("spot notice")
            ended = await it.ended(job)
        assert (ended.state, ended.result) == (JobState.COMPLETED, expected("y", 12))
        assert [attempt.worker_id for attempt in ended.attempts] == ["w1", "w2"]
        assert (ended.spent.crashes, ended.spent.interruptions) == (0, 1)


async def test_a_running_training_can_be_canceled(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "epochs") as (_, host):
        job = await it.submit_one("epochs.train", input={"epochs": 1000, "seconds": 0.02})
        await it.told(job, "checkpoint")
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.CANCELED
        assert host.component.status.can_serve


async def test_no_folder_is_left_behind(tmp_path: Path) -> None:
    async with rig(tmp_path, with_worker=False) as it, worker(it, "epochs") as (made, _):
        await it.ended(await it.submit_one("epochs.train", input={"epochs": 2, "seconds": 0.0}))
        while made.job_count:
            await asyncio.sleep(0)
        assert list((it.scratch / "w1" / "jobs").iterdir()) == []
