"""What a running job brings with it and leaves behind: files, notes, checkpoints, results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.runtime.rig import Gate, Running, bytes_of, done, ends, piece, rig, saved_file

from glowplug.artifact import Artifact, ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.errors import DiskFull, InvalidInput, LeaseLost, NotReady, TaskFailed, Unreachable
from glowplug.job import Checkpoint, JobState, Note, OutcomeKind, Progress
from glowplug.process.call import CallEnd
from glowplug.store import Hold, ModelInfo, TaskInfo


class Flaky(DiskArtifacts):
    """Artifacts that fail as told: `faults` are raised one after the other, for the calls named."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.faults: list[tuple[str, Exception]] = []
        self.deleted: list[str] = []

    def _fail(self, call: str) -> None:
        if self.faults and self.faults[0][0] == call:
            raise self.faults.pop(0)[1]

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        self._fail("put")
        return await super().put(key, chunks, media_type=media_type)

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        self._fail("read")
        async for chunk in super().read(key, start=start, end=end):
            yield chunk

    async def delete(self, key: str) -> None:
        self._fail("delete")
        self.deleted.append(key)
        await super().delete(key)


async def keys(store: ArtifactStore, prefix: str) -> list[str]:
    return sorted([found.key async for found in store.walk(prefix)])


# Files that come in.


async def test_the_artifacts_that_an_input_names_are_there_as_local_files(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.artifacts.put("inputs/1/cat.png", piece(b"cat"))
        await it.artifacts.put("inputs/2/dog.png", piece(b"dog"))
        seen: dict[str, bytes] = {}

        async def script(run: Running) -> CallEnd:
            seen.update({uri: Path(path).read_bytes() for uri, path in run.call.files.items()})
            assert {Path(path).name for path in run.call.files.values()} == {"cat.png", "dog.png"}
            return await done(run)

        it.host.script = script
        said = {"image": "artifact:inputs/1/cat.png", "more": [{"x": "artifact:inputs/2/dog.png"}]}
        assert (await it.ended(await it.submit_one(input=said))).result == said
        assert seen == {"artifact:inputs/1/cat.png": b"cat", "artifact:inputs/2/dog.png": b"dog"}


async def test_a_missing_input_file_fails_the_job_at_once_and_says_which(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        ended = await it.ended(await it.submit_one(input={"image": "artifact:inputs/1/gone.png"}))
        assert (ended.state, ended.attempt, ended.failure.code) == (JobState.FAILED, 1, "not_found")
        assert "inputs/1/gone.png" in ended.failure.message
        assert it.host.calls == []


async def test_words_that_only_look_like_a_reference_are_left_to_the_task(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        said = {"prompt": "artifact: a vase, 3rd century", "path": "artifact:../../etc/passwd"}
        assert (await it.ended(await it.submit_one(input=said))).result == said


async def test_a_name_of_a_file_is_left_to_the_task_where_it_wants_words(tmp_path: Path) -> None:
    schema = {"properties": {"prompt": {"type": "string"}}}
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", input_schema=schema)]) as it:
        said = {"prompt": "artifact:inputs/1/gone.png"}
        assert (await it.ended(await it.submit_one(input=said))).result == said
        assert not it.host.calls[0].files


async def test_inputs_are_fetched_again_until_the_artifact_store_answers(tmp_path: Path) -> None:
    artifacts = Flaky(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        await it.artifacts.put("inputs/1/cat.png", piece(b"cat"))
        artifacts.faults = [("read", Unreachable("away"))] * 3
        ended = await it.ended(await it.submit_one(input={"image": "artifact:inputs/1/cat.png"}))
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 1)


# Files that go out.


async def saving(run: Running) -> CallEnd:
    made = [saved_file(run, name, text.encode()) for name, text in (("a.txt", "first"), ("b.txt", "second"))]
    for artifact, path in made:
        await run.sink.saved(artifact, path)
    said = json.dumps([artifact.uri for artifact, _ in made]).encode()
    return CallEnd(OutcomeKind.COMPLETED, said, tuple(artifact for artifact, _ in made))


async def test_saved_files_are_stored_before_the_job_is_completed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = saving
        job = await it.ended(await it.submit_one())
        prefix = f"jobs/{job.id}/1"
        assert job.result == [f"artifact:{prefix}/a.txt", f"artifact:{prefix}/b.txt"]
        assert [(one.key, one.size_bytes) for one in job.artifacts] == [(f"{prefix}/a.txt", 5), (f"{prefix}/b.txt", 6)]
        assert all(len(one.sha256) == 64 for one in job.artifacts)
        assert await bytes_of(it.artifacts, f"{prefix}/b.txt") == b"second"


async def test_a_file_that_cannot_be_stored_fails_the_attempt_not_the_worker(tmp_path: Path) -> None:
    artifacts = Flaky(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        it.host.script = saving
        artifacts.faults = [("put", DiskFull("no room"))]
        job = await it.ended(await it.submit_one())
        assert (job.state, job.attempt) == (JobState.COMPLETED, 2)
        assert job.attempts[0].failure.code == "disk_full"
        assert [one.key for one in job.artifacts] == [f"jobs/{job.id}/2/a.txt", f"jobs/{job.id}/2/b.txt"]


async def test_files_are_stored_again_until_the_artifact_store_answers(tmp_path: Path) -> None:
    artifacts = Flaky(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        it.host.script = saving
        artifacts.faults = [("put", Unreachable("away"))] * 4
        job = await it.ended(await it.submit_one())
        assert (job.state, job.attempt) == (JobState.COMPLETED, 1)


async def test_a_file_that_vanished_before_it_was_stored_fails_the_attempt(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            artifact, path = saved_file(run, "a.txt", b"x")
            path.unlink()
            await run.sink.saved(artifact, path)
            return CallEnd(OutcomeKind.COMPLETED, b"1", (artifact,))

        it.host.script = script
        job = await it.ended(await it.submit_one(budget_errors=1))
        assert (job.state, job.failure.code) == (JobState.FAILED, "remote_error")


async def test_the_scratch_folder_is_gone_whatever_became_of_the_job(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        for script in (saving, ends(CallEnd(OutcomeKind.FAILED, error=TaskFailed("no", retryable=False)))):
            it.host.script = script
            await it.ended(await it.submit_one())
            while it.worker.job_count:
                await asyncio.sleep(0)
            assert list(it.scratch.iterdir()) == []


async def test_a_streaming_task_results_in_the_list_of_its_values(tmp_path: Path) -> None:
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", streams=True)]) as it:

        async def script(run: Running) -> CallEnd:
            for word in run.call.input_json and (b'"a"', b'{"b":1}'):
                await run.sink.chunk(word)
            return CallEnd(OutcomeKind.COMPLETED)

        it.host.script = script
        assert (await it.ended(await it.submit_one())).result == ["a", {"b": 1}]
        it.host.script = ends(CallEnd(OutcomeKind.COMPLETED))
        assert (await it.ended(await it.submit_one())).result == []


# Notes.


async def test_metrics_logs_and_the_last_progress_reach_the_log_before_the_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            for epoch in range(1, 6):
                await run.sink.note(Note("metrics", {"epoch": epoch}))
                await run.sink.note(Note("progress", {"done": epoch}, progress=Progress(epoch, 5)))
            await run.sink.note(Note("log", {"text": "over"}))
            return await done(run)

        it.host.script = script
        job = await it.submit_one()
        ended = await it.ended(job)
        assert [event.data["epoch"] for event in await it.told(job, "metrics", 5)] == [1, 2, 3, 4, 5]
        assert (await it.told(job, "log"))[0].data == {"text": "over"}
        assert ended.progress == Progress(5, 5)
        assert (await it.types(job))[-1] == "completed"


async def test_a_log_ends_with_a_line_that_says_so_when_it_is_too_long(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def script(run: Running) -> CallEnd:
            for number in range(300):
                await run.sink.note(Note("log", {"text": f"{number:03}" + "x" * 1021}))
            await run.sink.note(Note("metrics", {"epoch": 1}))
            return await done(run)

        it.host.script = script
        job = await it.submit_one()
        await it.ended(job)
        lines = [event.data["text"] for event in await it.log(job) if event.type == "log"]
        assert [line[:3] for line in lines[:-1]] == [f"{number:03}" for number in range(256)]
        assert lines[-1] == "[the log ends here: a job keeps 256 KiB of it]"
        assert len(await it.told(job, "metrics")) == 1


async def test_a_preview_is_stored_before_the_progress_that_names_it_is_told(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        gate = Gate()

        async def script(run: Running) -> CallEnd:
            artifact, path = saved_file(run, "preview-1.png", b"picture")
            await run.sink.saved(artifact, path)
            await run.sink.note(Note("progress", {}, progress=Progress(1, 2, preview=artifact.uri)))
            return await gate(run)

        it.host.script = script
        job = await it.submit_one()
        await it.told(job, "progress")
        preview = (await it.job(job)).progress.preview
        assert await bytes_of(it.artifacts, preview.removeprefix("artifact:")) == b"picture"
        gate.open.set()
        assert (await it.ended(job)).artifacts == ()


# Checkpoints.


def checkpointing(*steps: int, then: OutcomeKind = OutcomeKind.COMPLETED) -> object:
    async def script(run: Running) -> CallEnd:
        for step in steps:
            path = run.call.scratch / f"checkpoint-{step}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"after {step}")
            await run.sink.checkpoint(step, path)
        return CallEnd(then, b'"done"')

    return script


async def test_a_checkpoint_is_durable_and_told_when_the_call_returns(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        found: list[Checkpoint | None] = []

        async def script(run: Running) -> CallEnd:
            await checkpointing(7)(run)
            (job,) = [await it.store.job(hold.job_id) for hold in await it.store.held_by("w1")]
            found.append(job.checkpoint)
            assert await bytes_of(it.artifacts, job.checkpoint.artifact.key) == b"after 7"
            return await done(run)

        it.host.script = script
        job = await it.ended(await it.submit_one())
        assert (found[0].step, found[0].model_version) == (7, "1")
        assert found[0].artifact.key == f"jobs/{job.id}/1/checkpoints/7"


async def test_only_the_last_two_checkpoints_of_an_attempt_are_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = checkpointing(1, 2, 3, 4, then=OutcomeKind.FAILED)
        job = await it.ended(await it.submit_one(budget_errors=1))
        prefix = f"jobs/{job.id}/1/checkpoints"
        assert await keys(it.artifacts, prefix) == [f"{prefix}/3", f"{prefix}/4"]


async def test_a_completed_job_leaves_no_checkpoint(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = checkpointing(1, 2, 3)
        job = await it.ended(await it.submit_one())
        while it.worker.job_count:
            await asyncio.sleep(0)
        assert await keys(it.artifacts, f"jobs/{job.id}") == []


async def test_a_checkpoint_that_cannot_be_deleted_does_no_harm(tmp_path: Path) -> None:
    artifacts = Flaky(tmp_path / "artifacts")
    async with rig(tmp_path, artifacts=artifacts) as it:
        artifacts.faults = [("delete", Unreachable("away"))]
        it.host.script = checkpointing(1, 2, 3)
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED


async def test_the_next_attempt_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        resumed: list[tuple[int, str] | None] = []

        async def second(run: Running) -> CallEnd:
            step, path = run.call.resumed
            resumed.append((step, Path(path).read_text()))
            return await done(run)

        async def first(run: Running) -> CallEnd:
            await checkpointing(1, 2)(run)
            it.host.script = second
            return CallEnd(OutcomeKind.CRASHED)

        it.host.script = first
        job = await it.submit_one()
        assert (await it.ended(job)).attempt == 2
        assert resumed == [(2, "after 2")]
        assert [event.data for event in await it.told(job, "resumed")] == [{"step": 2}]


async def test_a_damaged_checkpoint_means_to_begin_anew_and_the_log_says_why(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def first(run: Running) -> CallEnd:
            await checkpointing(5)(run)
            await it.artifacts.put(f"{run.call.prefix}/checkpoints/5", piece(b"rubbish"))
            it.host.script = done
            return CallEnd(OutcomeKind.INTERRUPTED)

        it.host.script = first
        job = await it.submit_one()
        assert (await it.ended(job)).state is JobState.COMPLETED
        assert it.host.calls[-1].resumed is None
        (told,) = await it.told(job, "resumed")
        assert told.data["step"] == 0
        assert "not what was written" in told.data["reason"]


async def test_a_checkpoint_that_is_gone_means_to_begin_anew(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def first(run: Running) -> CallEnd:
            await checkpointing(5)(run)
            await it.artifacts.delete(f"{run.call.prefix}/checkpoints/5")
            it.host.script = done
            return CallEnd(OutcomeKind.INTERRUPTED)

        it.host.script = first
        job = await it.submit_one()
        assert (await it.ended(job)).state is JobState.COMPLETED
        assert it.host.calls[-1].resumed is None


@pytest.mark.parametrize(
    ("on_new_version", "state", "calls"), [("restart", JobState.COMPLETED, 2), ("refuse", JobState.FAILED, 1)]
)
async def test_a_checkpoint_of_another_version_is_worth_what_the_task_says(
    tmp_path: Path, on_new_version: str, state: JobState, calls: int
) -> None:
    info = TaskInfo("echo.say", on_new_version=on_new_version)
    async with rig(tmp_path, tasks=[info]) as it:

        async def first(run: Running) -> CallEnd:
            await checkpointing(5)(run)
            it.host.info = ModelInfo("echo", "2", (info,))
            it.host.script = done
            return CallEnd(OutcomeKind.INTERRUPTED)

        it.host.script = first
        job = await it.ended(await it.submit_one())
        assert (job.state, len(it.host.calls)) == (state, calls)
        assert it.host.calls[-1].resumed is None


async def test_a_checkpoint_of_a_lost_lease_is_refused_to_the_task(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        refused: list[bool] = []

        async def first(run: Running) -> CallEnd:
            await it.take_away()
            it.host.script = done
            try:
                return await checkpointing(5)(run)
            except LeaseLost:
                refused.append(True)
                raise

        it.host.script = first
        job = await it.ended(await it.submit_one())
        assert refused == [True]
        assert (job.attempt, job.checkpoint) == (2, None)
        await it.events.until("job.lease_lost", job=job.id)


# Ends.


async def test_bad_input_fails_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(CallEnd(OutcomeKind.FAILED, error=InvalidInput("n: too big", fields=["n"])))
        job = await it.ended(await it.submit_one())
        assert (job.state, job.attempt) == (JobState.FAILED, 1)
        assert job.failure.details == {"fields": [{"path": "n", "message": "too big"}]}


async def test_a_model_that_was_not_ready_after_all_gives_the_job_back_uncounted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(
            CallEnd(OutcomeKind.FAILED, error=NotReady("loading")), CallEnd(OutcomeKind.COMPLETED, b"1")
        )
        job = await it.ended(await it.submit_one())
        assert (job.result, job.spent.errors, job.spent.interruptions) == (1, 0, 1)


async def test_the_limit_of_time_of_a_task_goes_with_its_calls(tmp_path: Path) -> None:
    async with rig(tmp_path, tasks=[TaskInfo("echo.say", timeout_seconds=12.5)]) as it:
        await it.ended(await it.submit_one())
        assert it.host.calls[0].timeout_seconds == 12.5


async def test_a_call_is_named_after_its_attempt_so_that_two_attempts_never_meet(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.host.script = ends(CallEnd(OutcomeKind.DISPLACED), CallEnd(OutcomeKind.COMPLETED, b"1"))
        job = await it.ended(await it.submit_one())
        assert [call.id for call in it.host.calls] == [f"{job.id}-1", f"{job.id}-2"]
        assert [call.prefix for call in it.host.calls] == [f"jobs/{job.id}/1", f"jobs/{job.id}/2"]
        assert Hold(job.id, 2) not in await it.store.held_by("w1")
