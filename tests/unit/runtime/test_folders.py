"""Folders that an input names: brought whole, bounded, told of, and never outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.runtime.rig import QUICK, Gate, Running, done, piece, rig

from glowplug.artifact import Stat
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import SystemClock
from glowplug.errors import BugError, InvalidInput, NotFound, TooLarge, Unreachable
from glowplug.job import JobState
from glowplug.process.call import CallEnd
from glowplug.runtime.folders import Copied, FolderLimits, fetch_folder

NAMES = {"data.yaml": b"names", "images/train/a.png": b"A", "images/val/b.png": b"BB", "labels/train/a.txt": b"0 .5"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskArtifacts]:
    async with DiskArtifacts(tmp_path / "artifacts") as started:
        for name, data in NAMES.items():
            await started.put(f"sets/cats/{name}", piece(data))
        await started.put("sets/cats2/other.png", piece(b"other"))
        yield started


def below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_everything_below_comes_and_nothing_else(store: DiskArtifacts, tmp_path: Path) -> None:
    told: list[Copied] = []
    await fetch_folder(store, "sets/cats/", tmp_path / "here", tell=told.append)
    assert below(tmp_path / "here") == NAMES
    assert [copied.files for copied in told] == [0, 1, 2, 3, 4]
    assert told[-1].note == "fetching sets/cats/: 4 of 4 files, 0.0 MiB in all"


async def test_an_empty_folder_is_not_found_and_says_what_to_do(store: DiskArtifacts, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="artifact:sets/dogs/, below which there is nothing; put the files there first"):
        await fetch_folder(store, "sets/dogs/", tmp_path / "here")


@pytest.mark.parametrize("key", ["sets/cats", "../sets/", "/", "sets//cats/", "sets/.hidden/", "artifact:sets/"])
async def test_only_folders_within_the_store_are_fetched(store: DiskArtifacts, tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidInput):
        await fetch_folder(store, key, tmp_path / "here")


@pytest.mark.parametrize(
    ("limits", "said"),
    [(FolderLimits(files=3), "more than 3 files"), (FolderLimits(size_bytes=7), "more than 7 bytes")],
)
async def test_too_much_is_refused_before_anything_is_copied(
    store: DiskArtifacts, tmp_path: Path, limits: FolderLimits, said: str
) -> None:
    with pytest.raises(TooLarge, match=rf"{said}.*GLOWPLUG_WORKER_MAX_FOLDER"):
        await fetch_folder(store, "sets/cats/", tmp_path / "here", limits)
    assert not (tmp_path / "here").exists()


async def test_what_is_here_already_is_not_copied_again_and_what_is_not_whole_is(
    store: DiskArtifacts, tmp_path: Path
) -> None:
    reads: list[str] = []

    class Noted(DiskArtifacts):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            reads.append(key)
            async for chunk in super().read(key, start=start, end=end):
                yield chunk

    async with Noted(tmp_path / "artifacts") as noted:
        await fetch_folder(noted, "sets/cats/", tmp_path / "here")
        (tmp_path / "here/images/val/b.png").write_bytes(b"B")
        reads.clear()
        await fetch_folder(noted, "sets/cats/", tmp_path / "here")
    assert reads == ["sets/cats/images/val/b.png"]
    assert below(tmp_path / "here") == NAMES


async def test_a_store_that_goes_away_ends_the_copying(store: DiskArtifacts, tmp_path: Path) -> None:
    class Broken(DiskArtifacts):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            raise Unreachable("away")
            yield b""

    async with Broken(tmp_path / "artifacts") as broken:
        with pytest.raises(Unreachable):
            await fetch_folder(broken, "sets/cats/", tmp_path / "here")


@pytest.mark.parametrize("key", ["elsewhere/x", "sets/cats/../../x", "sets/cats/.x"])
async def test_a_listing_that_lies_writes_nothing_outside(store: DiskArtifacts, tmp_path: Path, key: str) -> None:
    class Lying(DiskArtifacts):
        async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
            yield Stat(key, 1, SystemClock().now())

    async with Lying(tmp_path / "artifacts") as lying:
        with pytest.raises((BugError, InvalidInput)):
            await fetch_folder(lying, "sets/cats/", tmp_path / "deep" / "here")
    assert not (tmp_path / "deep").exists()


async def test_names_that_no_artifact_can_have_are_told_instead_of_half_a_set(
    store: DiskArtifacts, tmp_path: Path
) -> None:
    for name in ("images/train/é.png", "images/train/a(2).png", "_notes.txt", "100%.png"):
        (tmp_path / "artifacts/sets/cats" / name).write_bytes(b"x")
    with pytest.raises(InvalidInput, match="/cats/ holds 8 files, of which 4 can be no artifacts") as caught:
        await fetch_folder(store, "sets/cats/", tmp_path / "here")
    assert " and 1 more; give them plain names" in caught.value.message
    assert not (tmp_path / "here").exists()


async def test_a_link_among_the_files_is_told(store: DiskArtifacts, tmp_path: Path) -> None:
    (tmp_path / "artifacts/sets/cats/passwd.txt").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match=r"1 can be no artifacts: 'passwd\.txt'; .*copies in place of links"):
        await fetch_folder(store, "sets/cats/", tmp_path / "here")


async def test_a_folder_of_strays_alone_is_not_called_empty(store: DiskArtifacts, tmp_path: Path) -> None:
    (tmp_path / "artifacts/sets/dogs").mkdir()
    (tmp_path / "artifacts/sets/dogs/é.png").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"holds 1 files, of which 1 can be no artifacts: 'é\.png'"):
        await fetch_folder(store, "sets/dogs/", tmp_path / "here")


async def test_hidden_files_are_left_out_and_counted(store: DiskArtifacts, tmp_path: Path) -> None:
    (tmp_path / "artifacts/sets/cats/.DS_Store").write_bytes(b"x")
    (tmp_path / "artifacts/sets/cats/__MACOSX").mkdir()
    (tmp_path / "artifacts/sets/cats/__MACOSX/._a.png").write_bytes(b"x")
    told: list[Copied] = []
    await fetch_folder(store, "sets/cats/", tmp_path / "here", tell=told.append)
    assert below(tmp_path / "here") == NAMES
    assert told[-1].note == "fetching sets/cats/: 4 of 4 files, 0.0 MiB in all; 2 hidden ones are left out"


async def test_an_empty_object_that_stands_for_a_folder_becomes_no_file(store: DiskArtifacts, tmp_path: Path) -> None:
    class Bucket(DiskArtifacts):
        async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
            async for stat in super().walk(prefix):
                yield stat
            yield Stat("sets/cats/videos", 0, SystemClock().now())

    async with Bucket(tmp_path / "artifacts") as bucket:
        await fetch_folder(bucket, "sets/cats/", tmp_path / "here")
    assert below(tmp_path / "here") == NAMES


async def test_an_object_below_another_one_is_named(store: DiskArtifacts, tmp_path: Path) -> None:
    class Bucket(DiskArtifacts):
        async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
            for key in ("sets/cats/a", "sets/cats/a/b/c"):
                yield Stat(key, 1, SystemClock().now())

    async with Bucket(tmp_path / "artifacts") as bucket:
        with pytest.raises(InvalidInput, match="'sets/cats/a/b/c' lies below another object"):
            await fetch_folder(bucket, "sets/cats/", tmp_path / "here")


# In a worker.


async def test_a_task_gets_the_folder_and_the_jobs_log_says_how_it_came(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        for name, data in NAMES.items():
            await it.artifacts.put(f"sets/cats/{name}", piece(data))
        seen: dict[str, bytes] = {}

        async def script(run: Running) -> CallEnd:
            folder = Path(run.call.files["artifact:sets/cats/"])
            assert folder.is_relative_to(run.call.scratch or "")
            assert folder.name == "cats"
            seen.update(below(folder))
            return await done(run)

        it.host.script = script
        job = await it.ended(await it.submit_one(input={"dataset": {"s3_prefix": "artifact:sets/cats/"}}))
        assert job.state is JobState.COMPLETED
        assert seen == NAMES
        assert "fetching sets/cats/: 4 of 4 files" in (await it.told(job, "progress"))[-1].data["note"]
        assert (await it.told(job, "progress"))[-1].data["percent"] is None
        assert list(it.scratch.rglob("*.png")) == []


async def test_too_large_a_folder_fails_the_job_for_good_and_the_worker_goes_on(tmp_path: Path) -> None:
    policy = replace(QUICK, folders=FolderLimits(files=1))
    async with rig(tmp_path, policy=policy) as it:
        for name in ("a", "b"):
            await it.artifacts.put(f"sets/cats/{name}", piece(b"x"))
        ended = await it.ended(await it.submit_one(input={"folder": "artifact:sets/cats/"}))
        assert (ended.state, ended.attempt) == (JobState.FAILED, 1)
        assert ended.failure is not None
        assert "more than 1 files" in ended.failure.message
        assert (await it.ended(await it.submit_one())).state is JobState.COMPLETED


async def test_a_cancel_ends_the_copying(tmp_path: Path) -> None:
    begun, gate = asyncio.Event(), Gate()

    class Slow(DiskArtifacts):
        async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            begun.set()
            await asyncio.Event().wait()
            yield b""

    async with rig(tmp_path, artifacts=Slow(tmp_path / "artifacts")) as it:
        it.host.script = gate
        for number in range(20):
            await it.artifacts.put(f"sets/cats/{number}", piece(b"x"))
        job = await it.submit_one(input={"folder": "artifact:sets/cats/"})
        async with asyncio.timeout(20):
            await begun.wait()
        await it.gateway.ledger.cancel(job.id)
        assert (await it.ended(job)).state is JobState.CANCELED
        assert it.host.calls == []
