"""What is special about artifacts in object storage; against a real S3 server that checks signatures."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import InvalidPathError
from obstore.store import from_url
from tests.servers.proxy import BreakingProxy
from tests.servers.seaweed import BUCKET, S3Server, s3

from glowplug.artifacts.objects import PART_BYTES, ObjectArtifacts, object_source
from glowplug.errors import BugError, InvalidInput, NotFound, SettingsError, Unauthorized, Unreachable
from glowplug.testing.artifacts import keys_below, pattern, pieces, read_all

__all__ = ["s3"]

pytestmark = pytest.mark.timeout(60)

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def store(s3: S3Server) -> AsyncIterator[ObjectArtifacts]:
    async with ObjectArtifacts(f"s3://{BUCKET}/{uuid4().hex}", s3.options()) as store:
        yield store


class TestRefusals:
    async def test_a_wrong_secret_is_said_at_the_start(self, s3: S3Server) -> None:
        store = ObjectArtifacts(f"s3://{BUCKET}", s3.options(secret_access_key="wrong-secret"))
        with pytest.raises(Unauthorized, match="SignatureDoesNotMatch") as caught:
            await store.start()
        assert "wrong-secret" not in str(caught.value)
        assert not store.started

    async def test_an_unknown_key_is_said_at_the_start(self, s3: S3Server) -> None:
        with pytest.raises(Unauthorized, match="InvalidAccessKeyId"):
            await ObjectArtifacts(f"s3://{BUCKET}", s3.options(access_key_id="nobody")).start()

    async def test_a_secret_that_changes_later_refuses_every_call(self, s3: S3Server, store: ObjectArtifacts) -> None:
        await store.put("key", pieces(b"x"))
        store._options = dict(s3.options(secret_access_key="wrong"))
        store._opened = store._open()
        for call in (store.stat("key"), read_all(store, "key"), store.put("key", pieces(b"y")), keys_below(store)):
            with pytest.raises(Unauthorized):
                await call
        with pytest.raises(Unauthorized):
            await store.put("large", pieces(pattern(2 * PART_BYTES)))

    async def test_a_missing_bucket_is_a_setting_to_mend(self, s3: S3Server) -> None:
        with pytest.raises(SettingsError, match="no bucket for s3://nowhere/folder; create it"):
            await ObjectArtifacts("s3://nowhere/folder", s3.options()).start()

    async def test_a_bucket_that_vanishes_is_a_setting_to_mend(self, s3: S3Server, store: ObjectArtifacts) -> None:
        store._url = "s3://nowhere"
        store._opened = store._open()
        for size_bytes in (1, 2 * PART_BYTES):
            with pytest.raises(SettingsError, match="create it"):
                await store.put("key", pieces(pattern(size_bytes)))
        with pytest.raises(SettingsError, match="create it"):
            await read_all(store, "key")

    async def test_nobody_at_the_address_is_unreachable_and_worth_another_try(self, s3: S3Server) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
            store = ObjectArtifacts(f"s3://{BUCKET}", s3.options(endpoint=endpoint), retry_seconds=0.2)
            with pytest.raises(Unreachable, match="does not answer") as caught:
                await store.start()
        assert caught.value.retryable

    @pytest.mark.parametrize("url", ["", "artifacts", "ftp://host/x", "file:///tmp", "memory:///", "s3:///folder"])
    async def test_an_address_of_another_kind_lists_the_kinds(self, url: str) -> None:
        with pytest.raises(SettingsError, match=r"use s3://bucket/folder, gs://bucket/folder, az://bucket/folder"):
            await ObjectArtifacts(url).start()

    async def test_an_unknown_option_is_named(self, s3: S3Server) -> None:
        with pytest.raises(SettingsError, match="shoe_size"):
            await ObjectArtifacts(f"s3://{BUCKET}", s3.options(shoe_size="44")).start()

    async def test_a_store_that_is_not_started_says_so(self) -> None:
        with pytest.raises(BugError, match="before start or after stop"):
            await ObjectArtifacts("s3://bucket").stat("key")


class TestUploads:
    async def test_the_media_type_is_what_a_browser_is_told(self, store: ObjectArtifacts) -> None:
        for key, size_bytes in (("small.png", 1), ("large.png", 2 * PART_BYTES)):
            await store.put(key, pieces(pattern(size_bytes)), media_type="image/png")
            url = await store.presign(key, "GET", MINUTE)
            assert url is not None
            with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                assert answer.headers["Content-Type"] == "image/png"

    @pytest.mark.parametrize("size_bytes", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
    async def test_sizes_around_a_part_arrive_whole(self, store: ObjectArtifacts, size_bytes: int) -> None:
        content = pattern(size_bytes)
        put = await store.put("key", pieces(content[:1000], content[1000:]))
        assert put.size_bytes == size_bytes == (await store.stat("key")).size_bytes
        assert await read_all(store, "key") == content

    async def test_a_failed_upload_takes_its_parts_back(self, s3: S3Server, store: ObjectArtifacts) -> None:
        async def broken() -> AsyncIterator[bytes]:
            async for part in four_parts(s3):
                yield part
            raise LookupError("the source broke")

        before = {*await asyncio.to_thread(s3.open_uploads)}
        with pytest.raises(LookupError, match="the source broke"):
            await store.put("key", broken())
        assert {*await asyncio.to_thread(s3.open_uploads)} <= before

    async def test_a_canceled_upload_takes_its_parts_back(self, s3: S3Server, store: ObjectArtifacts) -> None:
        under_way = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            async for part in four_parts(s3):
                yield part
            under_way.set()
            await asyncio.Event().wait()

        before = {*await asyncio.to_thread(s3.open_uploads)}
        putting = asyncio.create_task(store.put("key", stuck()))
        await under_way.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert {*await asyncio.to_thread(s3.open_uploads)} <= before
        assert await keys_below(store) == []

    async def test_an_upload_canceled_between_chunks_ends_too(self, store: ObjectArtifacts) -> None:
        sent = 0

        async def busy() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                if sent == 6:
                    putting.cancel()
                yield pattern(PART_BYTES)

        putting = asyncio.create_task(store.put("key", busy()))
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert sent < 30
        assert await keys_below(store) == []


async def four_parts(s3: S3Server) -> AsyncIterator[bytes]:
    """Yield four parts, and end when all have arrived: one under way could still land after the upload is ended."""
    before = await asyncio.to_thread(s3.open_uploads)
    for _ in range(4):
        yield pattern(PART_BYTES)
    while True:
        new = set(await asyncio.to_thread(s3.open_uploads)) - {*before}
        if [upload for upload in new if len(await asyncio.to_thread(s3.stored_parts, upload)) == 4]:
            return


class TestBrokenConnections:
    @pytest.fixture
    async def proxy(self, s3: S3Server) -> AsyncIterator[BreakingProxy]:
        async with BreakingProxy(s3.endpoint) as proxy:
            yield proxy

    @pytest.fixture
    async def far(self, s3: S3Server, proxy: BreakingProxy) -> AsyncIterator[ObjectArtifacts]:
        options = s3.options(endpoint=proxy.url)
        async with ObjectArtifacts(f"s3://{BUCKET}/{uuid4().hex}", options, retry_seconds=20) as far:
            yield far

    async def test_reads_and_writes_survive_connections_that_break_now_and_then(
        self, far: ObjectArtifacts, proxy: BreakingProxy
    ) -> None:
        content = pattern(2 * PART_BYTES)
        # The kept connection of the start is the first to break.
        proxy.break_requests = [PART_BYTES // 2, 300]
        await far.put("key", pieces(content))
        await far.stop()
        await far.start()
        proxy.break_answers = [PART_BYTES, 1000]
        assert await read_all(far, "key") == content

    async def test_connections_that_always_break_are_unreachable(
        self, far: ObjectArtifacts, proxy: BreakingProxy
    ) -> None:
        await far.put("key", pieces(pattern(2 * PART_BYTES)))
        proxy.break_answers = [100] * 100
        await far.stop()
        with pytest.raises(Unreachable, match="does not answer"):
            await far.start()


class TestLinks:
    async def test_a_signed_link_gives_the_bytes_without_a_key(self, store: ObjectArtifacts) -> None:
        await store.put("a folder/key.txt", pieces(b"linked"))
        url = await store.presign("a folder/key.txt", "GET", MINUTE)
        assert url is not None
        with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
            assert answer.read() == b"linked"

    async def test_a_signed_link_takes_bytes_without_a_key(self, store: ObjectArtifacts) -> None:
        url = await store.presign("new", "PUT", MINUTE)
        assert url is not None
        request = urllib.request.Request(url, data=b"sent", method="PUT")
        (await asyncio.to_thread(urllib.request.urlopen, request)).close()
        assert await read_all(store, "new") == b"sent"

    async def test_a_link_for_one_thing_opens_no_other(self, store: ObjectArtifacts) -> None:
        await store.put("one", pieces(b"1"))
        await store.put("two", pieces(b"2"))
        url = await store.presign("one", "GET", MINUTE)
        assert url is not None
        for bent in (url.replace("/one?", "/two?"), url[:-4] + "beef"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                await asyncio.to_thread(urllib.request.urlopen, bent)

    @pytest.mark.parametrize(
        ("method", "life"), [("DELETE", MINUTE), ("GET", timedelta()), ("GET", -MINUTE), ("PUT", timedelta(days=8))]
    )
    async def test_other_links_are_refused(self, store: ObjectArtifacts, method: str, life: timedelta) -> None:
        with pytest.raises(InvalidInput, match="at most seven days"):
            await store.presign("key", method, life)


class TestWhatLiesThere:
    async def test_two_folders_of_a_bucket_do_not_see_each_other(self, s3: S3Server, store: ObjectArtifacts) -> None:
        await store.put("key", pieces(b"x"))
        async with ObjectArtifacts(store._url + "2", s3.options()) as other:
            assert await keys_below(other) == []
            with pytest.raises(NotFound):
                await other.stat("key")

    async def test_names_that_are_no_keys_are_passed_over(self, s3: S3Server, store: ObjectArtifacts) -> None:
        await store.put("good", pieces(b"x"))
        foreign = from_url(store._url, config=dict(s3.options()), client_options={"allow_http": True})  # type: ignore[call-overload]
        for name in ("bad#name", ".hidden", "folder/also~bad"):
            await obstore.put_async(foreign, name, b"x")
        await obstore.put_async(foreign, "folder/good", b"")
        assert await keys_below(store) == ["folder/good", "good"]
        assert [name async for name in store.strays("folder")] == ["folder/also~bad"]

    async def test_what_consoles_write_for_a_folder_is_no_object(
        self, store: ObjectArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = {"set": 0, "set/a.txt": 0, "set/b": 0, "set/b/c.png": 3, "set/b/d": 0, "set/b/d/é": 0, "set/é": 0}

        async def listing(*args: object, **more: object) -> AsyncIterator[list[dict[str, object]]]:
            for path, size in sizes.items():
                yield [{"path": path, "size": size, "last_modified": datetime(2026, 1, 1, tzinfo=UTC)}]

        monkeypatch.setattr(obstore, "list", listing)
        assert await keys_below(store, "set") == ["set/a.txt", "set/b/c.png"]
        assert [name async for name in store.strays("set")] == ["set/b/d/é", "set/é"]

    async def test_a_name_that_no_file_can_have_is_told_with_it(
        self, store: ObjectArtifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def listing(*args: object, **more: object) -> AsyncIterator[list[object]]:
            raise InvalidPathError('Encountered object with invalid path: Path "a//b" contained empty path segment\n\n')
            yield []

        monkeypatch.setattr(obstore, "list", listing)
        with pytest.raises(InvalidInput, match=r'^"a//b" in s3://.* has a name that no file can have; rename it'):
            await keys_below(store, "a")

    async def test_weights_are_found_by_the_address_of_file_or_folder(
        self, s3: S3Server, store: ObjectArtifacts
    ) -> None:
        await store.put("model/net.bin", pieces(b"net"))
        whole, folder = object_source(f"{store._url}/model/", s3.options())
        async with whole:
            assert await keys_below(whole, folder) == [f"{folder}/net.bin"]
            assert await read_all(whole, f"{folder}/net.bin") == b"net"
