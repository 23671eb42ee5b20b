"""The worker's main path: it takes what its ready models can take, and nothing else."""

from __future__ import annotations

from pathlib import Path

from glowplug.job import JobState
from tests.unit.runtime.rig import rig


async def test_a_queued_job_is_claimed_run_and_completed_with_its_result(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        job = await it.submit_one(input={"text": "hello"})
        ended = await it.ended(job)
        assert (ended.state, ended.result) == (JobState.COMPLETED, {"text": "hello"})
        assert await it.types(job) == ["queued", "started", "completed"]
