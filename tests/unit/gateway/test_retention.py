"""Retention: old things go, living things stay."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway.house import HandWorker, House, Told, house

from glowplug.artifact import Artifact
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import ManualClock
from glowplug.gateway.policy import Pace, Retention
from glowplug.gateway.retention import Cleaner, is_leftover
from glowplug.gateway.shelf import referenced, token_of
from glowplug.job import Checkpoint, Note, Outcome, OutcomeKind, Progress

DAY = 24 * 3600.0
KEPT = Retention(jobs_seconds=10 * DAY, inputs_seconds=5 * DAY, calls_seconds=DAY, stale_seconds=3600)


class Office:
    """A gateway, and a cleaner whose turns the test takes."""

    def __init__(self, home: House, folder: Path) -> None:
        self.home = home
        self.folder = folder
        # A clock of its own: winding the gateway's by days would give its duties a million turns.
        self.clock = ManualClock(home.clock.now())
        self.cleaner = Cleaner(home.store, home.artifacts, self.clock, KEPT, Pace())

    async def put(self, key: str, age_seconds: float = 0.0) -> Artifact:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"12345"

        artifact = await self.home.artifacts.put(key, chunks())
        moment = (self.clock.now() - timedelta(seconds=age_seconds)).timestamp()
        os.utime(self.folder / key, (moment, moment))
        return artifact

    async def keys(self) -> list[str]:
        return sorted([stat.key async for stat in self.home.artifacts.walk()])

    async def running(self) -> tuple[HandWorker, str]:
        worker = await self.home.ready_worker()
        job = await self.home.submit()
        return worker, job["id"]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    # Files get the machine's time when they are written: the clock that stands still must stand there too.
    clock = ManualClock(datetime.now(UTC))
    root = tmp_path / "store"
    async with house(tmp_path, clock, artifacts=DiskArtifacts(root)) as home:
        yield Office(home, root)


async def test_ended_jobs_past_their_time_go_with_their_artifacts(office: Office, told: Told) -> None:
    worker, job_id = await office.running()
    grant = await worker.one()
    artifact = await office.put(f"jobs/{job_id}/1/out.png")
    await worker.finish(grant, None, (artifact,))
    await office.cleaner.turn()
    assert await office.keys() == [artifact.key]
    await office.clock.advance(11 * DAY)
    told.events.clear()
    await office.cleaner.turn()
    assert await office.keys() == []
    assert (await office.home.client.get(f"/v1/jobs/{job_id}")).status_code == 404


async def test_jobs_that_have_not_ended_stay_however_old(office: Office) -> None:
    _, job_id = await office.running()
    await office.clock.advance(100 * DAY)
    await office.cleaner.turn()
    assert (await office.home.job(job_id))["state"] == "queued"


async def test_old_uploads_and_results_of_direct_calls_go(office: Office, told: Told) -> None:
    for key, age in (
        ("inputs/1/new", 4 * DAY),
        ("inputs/2/old", 6 * DAY),
        ("calls/1/new", 0),
        ("calls/2/old", 2 * DAY),
    ):
        await office.put(key, age)
    await office.cleaner.turn()
    assert await office.keys() == ["calls/1/new", "inputs/1/new"]
    assert told.of("retention.cleaned") == [{"jobs": 0, "artifacts": 2, "bytes": 10}]


async def test_what_a_lost_attempt_left_goes_and_what_the_row_names_stays(office: Office) -> None:
    worker, job_id = await office.running()
    first = await worker.one()
    checkpoint = await office.put(f"jobs/{job_id}/1/checkpoints/1", 7200)
    await office.put(f"jobs/{job_id}/1/half.png", 7200)
    await worker.note(first, Note("checkpoint", {}, checkpoint=Checkpoint(1, checkpoint)))
    await worker.end(first.hold, Outcome(OutcomeKind.INTERRUPTED))
    await worker.one()
    mine = await office.put(f"jobs/{job_id}/2/running.png", 7200)
    await office.cleaner.turn()
    assert await office.keys() == [checkpoint.key, mine.key]


async def test_what_is_young_stays_whoever_it_belongs_to(office: Office) -> None:
    await office.put("jobs/nobody/1/x", 60)
    await office.cleaner.turn()
    assert await office.keys() == ["jobs/nobody/1/x"]


async def test_artifacts_of_a_job_that_does_not_exist_go(office: Office) -> None:
    await office.put("jobs/nobody/1/x", 7200)
    await office.cleaner.turn()
    assert await office.keys() == []


async def test_a_done_job_keeps_only_what_it_shows(office: Office) -> None:
    worker, job_id = await office.running()
    grant = await worker.one()
    shown = await office.put(f"jobs/{job_id}/1/out.png", 7200)
    await office.put(f"jobs/{job_id}/1/preview-7.png", 7200)
    await worker.finish(grant, None, (shown,))
    await office.cleaner.turn()
    assert await office.keys() == [shown.key]


async def test_nothing_to_do_is_not_told(office: Office, told: Told) -> None:
    await office.cleaner.turn()
    assert told.of("retention.cleaned") == []


async def test_a_job_speaks_of_its_artifacts_its_checkpoint_and_its_preview(home: House) -> None:
    worker = await home.ready_worker()
    job_id = (await home.submit())["id"]
    grant = await worker.one()
    point = Checkpoint(1, Artifact("jobs/a/1/c", 1, "0"))
    progress = Progress(1, 2, preview="artifact:jobs/a/1/p.png")
    await worker.note(grant, Note("checkpoint", {}, checkpoint=point), Note("progress", {}, progress=progress))
    result = Artifact(f"jobs/{job_id}/1/out.png", 1, "0")
    await worker.finish(grant, None, (result,))
    job = await home.store.job(job_id)
    assert referenced(job) == {result.key, "jobs/a/1/c", "jobs/a/1/p.png"}
    assert not is_leftover(result.key, job)
    assert is_leftover(f"jobs/{job_id}/1/other.png", job)
    assert is_leftover("anything", None)


@pytest.mark.parametrize(
    ("key", "token"), [("jobs/a/7/x", 7), ("jobs/a/7/x/y", 7), ("jobs/a/x/y", -1), ("jobs/a/7", -1), ("inputs/a", -1)]
)
def test_the_token_is_the_third_part(key: str, token: int) -> None:
    assert token_of(key) == token
