"""What is special about artifacts on disk: durability, privacy, faults of the file system."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from glowplug.artifacts.disk import UPLOADS, DiskArtifacts
from glowplug.errors import BugError, DiskFull, InvalidInput, NotFound, RemoteError, SettingsError
from glowplug.testing.artifacts import keys_below, pattern, pieces, read_all

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[DiskArtifacts]:
    async with DiskArtifacts(root) as store:
        yield store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class TestDurability:
    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Record the order in which files are synced and renamed, by name."""
        calls: list[str] = []
        fsync, rename = os.fsync, Path.rename

        def noted_fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            calls.append("sync upload" if path.parent.name == UPLOADS else f"sync {path.name}")
            fsync(descriptor)

        def noted_rename(path: Path, target: Path) -> Path:
            calls.append(f"rename to {target.name}")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        return calls

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    async def test_bytes_are_synced_before_the_rename_and_every_folder_on_the_way_too(
        self, store: DiskArtifacts, calls: list[str]
    ) -> None:
        await store.put("jobs/7/a.png", pieces(b"x"))
        assert calls == ["sync upload", "sync artifacts", "sync jobs", "rename to a.png", "sync 7"]
        calls.clear()
        await store.put("jobs/7/b.png", pieces(b"x"))
        assert calls == ["sync upload", "rename to b.png", "sync 7"]

    async def test_a_writer_killed_half_way_leaves_nothing_that_the_next_start_does_not_sweep(self, root: Path) -> None:
        killed = writer(root)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(list((root / UPLOADS).iterdir())) == 1
        async with DiskArtifacts(root) as store:
            assert list((root / UPLOADS).iterdir()) == []
            assert await keys_below(store) == []

    async def test_a_start_does_not_sweep_what_a_living_process_writes(self, root: Path) -> None:
        writing = writer(root)
        try:
            async with DiskArtifacts(root) as other:
                assert len(list((root / UPLOADS).iterdir())) == 1
                assert await keys_below(other) == []
        finally:
            writing.kill()
            writing.communicate()

    async def test_a_failed_put_leaves_no_file(self, store: DiskArtifacts, root: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - the source's own error, unchanged
            await store.put("a/b", broken())
        assert [path for path in root.rglob("*") if path.is_file()] == []

    async def test_a_put_canceled_while_it_writes_leaves_no_file(
        self, store: DiskArtifacts, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writing, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        write = os.write

        def slow_write(descriptor: int, data: bytes) -> int:
            loop.call_soon_threadsafe(writing.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", slow_write)
        putting = asyncio.create_task(store.put("key", pieces(b"x")))
        await writing.wait()
        putting.cancel()
        loop.call_later(0.01, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert [path for path in root.rglob("*") if path.is_file()] == []


class TestPrivacy:
    async def test_files_and_folders_are_for_their_owner_alone(self, store: DiskArtifacts, root: Path) -> None:
        await store.put("jobs/1/a.png", pieces(b"x"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
        assert modes == {"artifacts": 0o700, UPLOADS: 0o700, "jobs": 0o700, "1": 0o700, "a.png": 0o600}

    @pytest.mark.parametrize("key", ["out/secret", "link"])
    async def test_a_link_leads_nowhere(self, store: DiskArtifacts, root: Path, tmp_path: Path, key: str) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (root / "out").symlink_to(outside)
        (root / "link").symlink_to(outside / "secret")
        for call in every_call(store, key):
            with pytest.raises(InvalidInput, match="link"):
                await call()
        with pytest.raises(InvalidInput, match="link"):
            await keys_below(store, "out")
        assert await keys_below(store) == []
        assert (outside / "secret").read_text() == "secret"
        assert sorted(outside.iterdir()) == [outside / "secret"]

    async def test_the_folder_of_uploads_is_out_of_reach(self, store: DiskArtifacts, root: Path) -> None:
        (root / UPLOADS / "x").write_bytes(b"x")
        for call in every_call(store, f"{UPLOADS}/x"):
            with pytest.raises(InvalidInput):
                await call()
        assert await keys_below(store) == []

    async def test_a_root_that_is_reached_through_a_link_is_fine(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        root.symlink_to(tmp_path / "real")
        async with DiskArtifacts(root) as store:
            await store.put("a/b", pieces(b"x"))
            assert await read_all(store, "a/b") == b"x"

    async def test_what_is_no_plain_file_is_not_found(self, store: DiskArtifacts, root: Path) -> None:
        os.mkfifo(root / "pipe")
        with pytest.raises(NotFound):
            await read_all(store, "pipe")
        with pytest.raises(NotFound):
            await store.stat("pipe")
        assert await keys_below(store) == []


class TestFaults:
    async def test_a_full_disk_is_said_and_leaves_room_again(self, small_disk: Path) -> None:
        async with DiskArtifacts(small_disk / "artifacts") as store:
            await store.put("small", pieces(b"x" * 1000))
            with pytest.raises(DiskFull) as caught:
                await store.put("large", pieces(*[pattern(MIB // 4)] * 8))
            assert isinstance(caught.value.data["free_bytes"], int)
            assert str(small_disk) in caught.value.message
            await store.put("later", pieces(b"y" * 500_000))
            assert await keys_below(store) == ["later", "small"]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    async def test_every_kind_of_no_room_is_a_full_disk(
        self, store: DiskArtifacts, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "write", failing(number))
        with pytest.raises(DiskFull):
            await store.put("key", pieces(b"x"))
        monkeypatch.undo()
        assert await keys_below(store) == []

    async def test_a_disk_that_fails_to_sync_fails_the_put(
        self, store: DiskArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(RemoteError, match="Input/output error"):
            await store.put("key", pieces(b"x"))
        monkeypatch.undo()
        assert await keys_below(store) == []

    async def test_a_disk_that_was_made_read_only_says_what_to_do(
        self, store: DiskArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "write", failing(errno.EROFS))
        with pytest.raises(SettingsError, match="name a writable folder"):
            await store.put("key", pieces(b"x"))

    async def test_a_root_that_is_a_file_is_a_wrong_setting(self, root: Path) -> None:
        root.write_text("not a folder")
        with pytest.raises(SettingsError, match="cannot be used"):
            await DiskArtifacts(root).start()

    async def test_a_name_cannot_be_folder_and_object(self, store: DiskArtifacts) -> None:
        await store.put("a/b", pieces(b"x"))
        for key in ("a", "a/b/c"):
            with pytest.raises(InvalidInput, match="both a folder and an artifact"):
                await store.put(key, pieces(b"y"))
        assert await keys_below(store) == ["a/b"]
        assert await read_all(store, "a/b") == b"x"

    async def test_a_folder_that_vanishes_again_and_again_does_not_hang_the_put(
        self, store: DiskArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def vanished(path: Path, target: Path) -> Path:
            raise FileNotFoundError(errno.ENOENT, "gone", str(target))

        monkeypatch.setattr(Path, "rename", vanished)
        with pytest.raises(RemoteError, match="vanishes"):
            await store.put("a/b", pieces(b"x"))

    async def test_files_that_vanish_during_a_walk_are_passed_over(self, store: DiskArtifacts) -> None:
        await asyncio.gather(*[store.put(f"many/{number}", pieces()) for number in range(600)])
        found = 0
        async for one in store.walk("many"):
            found += 1
            await store.delete(one.key)
        assert 1 <= found <= 600
        assert await keys_below(store, "many") == []

    async def test_names_that_are_no_keys_are_passed_over(self, store: DiskArtifacts, root: Path) -> None:
        await store.put("a/good", pieces(b"x"))
        (root / "a" / "bad#name").write_bytes(b"x")
        (root / "a" / ".hidden").write_bytes(b"x")
        assert await keys_below(store) == ["a/good"]

    async def test_a_store_that_is_not_started_says_so(self, root: Path) -> None:
        with pytest.raises(BugError, match="before start or after stop"):
            await DiskArtifacts(root).stat("key")


async def test_many_puts_at_once_all_arrive(store: DiskArtifacts) -> None:
    await asyncio.gather(*[store.put(f"jobs/{number}/1/a", pieces(str(number).encode())) for number in range(200)])
    assert await read_all(store, "jobs/123/1/a") == b"123"
    assert len(await keys_below(store)) == 200


def every_call(store: DiskArtifacts, key: str) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.put(key, pieces(b"overwritten")),
        lambda: read_all(store, key),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


WRITER = """
import asyncio, sys
from pathlib import Path
from glowplug.artifacts.disk import DiskArtifacts

async def chunks():
    yield b"x" * 1000
    print("half-way", flush=True)
    await asyncio.Event().wait()

async def main():
    async with DiskArtifacts(Path(sys.argv[1])) as store:
        await store.put("jobs/1/1/half", chunks())

asyncio.run(main())
"""


def writer(root: Path) -> subprocess.Popen[str]:
    """Start a process that has written half an artifact, and waits."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half-way\n"
    return process
