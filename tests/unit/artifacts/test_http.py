"""What is special about artifacts behind a gateway: tokens, broken connections, damage on the way."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.servers.artifact_routes import TOKEN, serving
from tests.servers.proxy import BreakingProxy

from glowplug.artifact import Artifact, FileChunks
from glowplug.artifacts.disk import UPLOADS, DiskArtifacts
from glowplug.artifacts.http import HttpArtifacts
from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import BugError, Corrupt, DiskFull, NotFound, RemoteError, Unauthorized, Unreachable
from glowplug.testing.artifacts import keys_below, pattern, pieces, read_all

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


class HastyClock(SystemClock):
    """Pauses are remembered, not slept."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskArtifacts]:
    async with DiskArtifacts(tmp_path / "artifacts") as disk:
        yield disk


@pytest.fixture
async def gateway(disk: DiskArtifacts) -> AsyncIterator[str]:
    async with serving(disk) as url:
        yield url


@pytest.fixture
async def proxy(gateway: str) -> AsyncIterator[BreakingProxy]:
    async with BreakingProxy(gateway) as proxy:
        yield proxy


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


@pytest.fixture
async def store(proxy: BreakingProxy, clock: HastyClock) -> AsyncIterator[HttpArtifacts]:
    async with HttpArtifacts(proxy.url, TOKEN, clock=clock) as store:
        yield store


class TestTokens:
    @pytest.mark.parametrize("token", ["wrong", "", None])
    async def test_without_the_token_every_call_is_refused(self, gateway: str, token: str | None) -> None:
        async with HttpArtifacts(gateway, token) as store:
            with pytest.raises(Unauthorized, match="answered 401"):
                await store.stat("key")
            with pytest.raises(Unauthorized, match="worker token"):
                await read_all(store, "key")
            with pytest.raises(Unauthorized, match="worker token"):
                await store.delete("key")
            with pytest.raises(Unauthorized, match="worker token"):
                await keys_below(store)

    @pytest.mark.parametrize("size_bytes", [10, 20 * MIB])
    async def test_a_long_body_does_not_hide_the_refusal(self, gateway: str, size_bytes: int) -> None:
        async with HttpArtifacts(gateway, "wrong") as store:
            with pytest.raises(Unauthorized, match="worker token"):
                await store.put("key", pieces(*[pattern(MIB)] * (size_bytes // MIB), b"x" * 10))

    async def test_the_token_is_in_no_error(self, gateway: str) -> None:
        async with HttpArtifacts(gateway, "very-secret") as store:
            with pytest.raises(Unauthorized) as caught:
                await store.stat("key")
        assert "very-secret" not in repr(caught.value)
        assert "very-secret" not in repr(caught.value.data)


class TestBrokenConnections:
    async def test_a_read_goes_on_where_it_broke(self, store: HttpArtifacts, proxy: BreakingProxy) -> None:
        content = pattern(6 * MIB)
        await store.put("key", pieces(content))
        proxy.break_answers = [2 * MIB, 300 * 1024, MIB]
        await store.stop()
        await store.start()
        before = proxy.answered_bytes
        assert await read_all(store, "key") == content
        assert proxy.answered_bytes - before < len(content) + MIB

    async def test_a_read_of_a_range_goes_on_where_it_broke(self, store: HttpArtifacts, proxy: BreakingProxy) -> None:
        content = pattern(6 * MIB)
        await store.put("key", pieces(content))
        proxy.break_answers = [2 * MIB]
        await store.stop()
        await store.start()
        assert await read_all(store, "key", start=5, end=5 * MIB) == content[5 : 5 * MIB]

    async def test_what_was_replaced_meanwhile_is_not_mixed(
        self, store: HttpArtifacts, disk: DiskArtifacts, proxy: BreakingProxy
    ) -> None:
        await disk.put("key", pieces(pattern(6 * MIB, seed=1)))
        proxy.break_answers = [3 * MIB]
        reader = aiter(store.read("key"))
        await anext(reader)
        await disk.put("key", pieces(pattern(6 * MIB, seed=2)))
        with pytest.raises(RemoteError, match="replaced while it was read"):
            [piece async for piece in reader]

    async def test_small_bodies_and_files_are_sent_again(
        self, store: HttpArtifacts, disk: DiskArtifacts, proxy: BreakingProxy, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(pattern(3 * MIB))
        proxy.break_requests = [50, 300]
        await store.put("small", pieces(b"x" * 1000))
        assert proxy.connections == 3
        proxy.break_requests = [MIB, 2 * MIB]
        await store.stop()
        await store.start()
        await store.put("file", FileChunks(tmp_path / "file"))
        assert proxy.connections == 6
        assert await read_all(disk, "small") == b"x" * 1000
        assert await read_all(disk, "file") == pattern(3 * MIB)

    async def test_a_lost_answer_to_a_put_is_asked_for_again(
        self, store: HttpArtifacts, disk: DiskArtifacts, proxy: BreakingProxy
    ) -> None:
        proxy.break_answers = [1]
        await store.put("key", pieces(b"x"))
        assert await read_all(disk, "key") == b"x"

    async def test_a_long_stream_that_cannot_begin_again_fails_for_the_caller_to_decide(
        self, store: HttpArtifacts, disk: DiskArtifacts, proxy: BreakingProxy, clock: HastyClock
    ) -> None:
        proxy.break_requests = [3 * MIB]
        with pytest.raises(Unreachable) as caught:
            await store.put("key", pieces(*[pattern(MIB)] * 20))
        assert caught.value.retryable
        assert clock.pauses == []
        assert await keys_below(disk) == []

    async def test_nobody_there_is_tried_with_growing_pauses_and_then_said(self, clock: HastyClock) -> None:
        async with HttpArtifacts("http://127.0.0.1:9", TOKEN, clock=clock, attempts=4) as store:
            with pytest.raises(Unreachable, match="cannot reach the gateway at http:"):
                await store.stat("key")
            assert len(clock.pauses) == 3
            assert clock.pauses[2] > clock.pauses[0]
            with pytest.raises(Unreachable):
                await read_all(store, "key")
            with pytest.raises(Unreachable):
                await store.put("key", pieces(b"x"))
            with pytest.raises(Unreachable):
                await keys_below(store)

    async def test_a_gateway_that_comes_back_is_found_again(self, disk: DiskArtifacts, proxy: BreakingProxy) -> None:
        waiting = ManualClock()
        async with HttpArtifacts(proxy.url, TOKEN, clock=waiting) as store:
            proxy.break_answers = [0]
            putting = asyncio.create_task(store.put("key", pieces(b"x")))
            while proxy.connections == 0:
                await asyncio.sleep(0)
            while not putting.done():
                await waiting.advance(5)
                await asyncio.sleep(0)
        assert (await putting).size_bytes == 1
        assert await read_all(disk, "key") == b"x"


class TestDamage:
    async def test_bytes_that_are_not_those_announced_are_not_kept(
        self, disk: DiskArtifacts, gateway: str, clock: Clock, tmp_path: Path
    ) -> None:
        class Bent(FileChunks):
            """A file of which other bytes are read than were hashed."""

            def reopen(self) -> FileChunks:
                return FileChunks(self.path.with_name("other"))

        (tmp_path / "file").write_bytes(pattern(2 * MIB, seed=1))
        (tmp_path / "other").write_bytes(pattern(2 * MIB, seed=2))
        async with HttpArtifacts(gateway, TOKEN, clock=clock) as store:
            with pytest.raises(Corrupt):
                await store.put("key", Bent(tmp_path / "file"))
        assert await keys_below(disk) == []

    async def test_a_gateway_that_stored_something_else_is_found_out(self, disk: DiskArtifacts, clock: Clock) -> None:
        async with (
            Lying(disk._root) as lying,
            serving(lying) as url,
            HttpArtifacts(url, TOKEN, clock=clock) as store,
        ):
            with pytest.raises(Corrupt, match="other bytes"):
                await store.put("small", pieces(b"x"))
            with pytest.raises(Corrupt, match="other bytes"):
                await store.put("large", pieces(*[pattern(MIB)] * 3))
        assert await keys_below(disk) == []


class TestFaults:
    async def test_errors_of_the_gateway_arrive_as_what_they_are(
        self, store: HttpArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("glowplug.artifacts.disk.os.fsync", full)
        with pytest.raises(DiskFull) as caught:
            await store.put("key", pieces(b"x"))
        assert caught.value.data["free_bytes"] > 0

    async def test_an_error_of_the_source_is_raised_as_it_is_and_leaves_nothing(
        self, store: HttpArtifacts, disk: DiskArtifacts, tmp_path: Path
    ) -> None:
        async def broken() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield pattern(MIB)
            raise LookupError("the source broke")

        with pytest.raises(LookupError, match="the source broke"):
            await store.put("key", broken())
        with pytest.raises(FileNotFoundError):
            await store.put("key", FileChunks(tmp_path / "absent"))
        assert await keys_below(disk) == []

    async def test_a_canceled_put_leaves_no_half_upload_on_the_gateway(
        self, store: HttpArtifacts, tmp_path: Path
    ) -> None:
        uploads = tmp_path / "artifacts" / UPLOADS

        async def stuck() -> AsyncIterator[bytes]:
            yield pattern(4 * MIB)
            await asyncio.Event().wait()

        putting = asyncio.create_task(store.put("key", stuck()))
        while not list(uploads.iterdir()):
            await asyncio.sleep(0.005)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        while list(uploads.iterdir()):
            await asyncio.sleep(0.005)

    async def test_deleting_what_is_absent_is_fine_and_reading_it_is_not(self, store: HttpArtifacts) -> None:
        await store.delete("absent")
        with pytest.raises(NotFound):
            await store.stat("absent")

    async def test_a_store_that_is_not_started_says_so(self) -> None:
        with pytest.raises(BugError, match="before start or after stop"):
            await HttpArtifacts("http://127.0.0.1:9", None).stat("key")

    async def test_a_slash_at_the_end_of_the_address_does_no_harm(self, gateway: str) -> None:
        async with HttpArtifacts(gateway + "/", TOKEN) as store:
            await store.put("key", pieces(b"x"))
            assert await read_all(store, "key") == b"x"


class Lying(DiskArtifacts):
    """Stores the bytes in the same folder as another store, and tells the digest of others."""

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        stored = await super().put(key, chunks, media_type=media_type)
        return Artifact(key, stored.size_bytes, "0" * 64)
