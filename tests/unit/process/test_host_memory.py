"""A device without room for a call: the call fails as such, what it held is free, the model stays ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.unit.process.rig import SECONDS, Recorder, hosted

from glowplug.errors import OutOfMemory
from glowplug.job import OutcomeKind
from glowplug.runtime.outcomes import outcome_of


async def test_a_call_without_room_fails_as_such_and_frees_what_it_held(tmp_path: Path) -> None:
    async with hosted(tmp_path, "memory_hog") as rig:
        end = await rig.run("fill", blocks=5)
        assert type(end.error) is OutOfMemory
        assert "2.00 GiB" in end.error.message
        assert (await rig.run("held")).output_json == b"0"
        assert rig.component.status.can_serve
        assert (await rig.run("fill", blocks=2)).output_json == b"2"


async def test_a_job_that_found_no_room_is_tried_again_under_a_name_that_says_so(tmp_path: Path) -> None:
    async with hosted(tmp_path, "memory_hog") as rig:
        outcome = outcome_of(await rig.run("fill", blocks=5), {})
        assert outcome.failure is not None
        assert (outcome.failure.code, outcome.failure.retryable) == ("out_of_memory", True)


async def test_calls_that_do_not_fit_together_are_run_one_by_one(tmp_path: Path) -> None:
    async with hosted(tmp_path, "memory_hog") as rig, asyncio.timeout(SECONDS):
        calls = [rig.call("fill_together", blocks=count) for count in (1, 1, 5, 2)]
        ends = await rig.host.run_batch(calls, [Recorder() for _ in calls])
        kinds = [end.kind for end in ends]
        assert kinds == [OutcomeKind.COMPLETED, OutcomeKind.COMPLETED, OutcomeKind.FAILED, OutcomeKind.COMPLETED]
        assert type(ends[2].error) is OutOfMemory
