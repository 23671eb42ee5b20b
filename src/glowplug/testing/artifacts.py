"""Conformance suite of `ArtifactStore`.

A test module makes a subclass of `ArtifactStoreSuite` whose fixture `store` yields a started, empty store.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glowplug.artifact import PIECE_BYTES, ArtifactStore, FileChunks
from glowplug.errors import InvalidInput, NotFound

BAD_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "../up",
    "a/../b",
    "a//b",
    "a/",
    ".hidden",
    "a/.b",
    "a\\b",
    "a\x00b",
    "a\nb",
    "x" * 600,
]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Yield `parts`."""
    for part in parts:
        yield part


async def read_all(store: ArtifactStore, key: str, *, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of `key` from `start` to `end` in one."""
    return b"".join([piece async for piece in store.read(key, start=start, end=end)])


async def keys_below(store: ArtifactStore, prefix: str = "") -> list[str]:
    """Return the sorted keys that `walk` finds."""
    return sorted([found.key async for found in store.walk(prefix)])


def pattern(size_bytes: int, seed: int = 0) -> bytes:
    """Return bytes of which no two stretches look alike, the same for the same arguments."""
    return hashlib.shake_256(seed.to_bytes(4, "big")).digest(size_bytes)


class ArtifactStoreSuite:
    """What every artifact store does."""

    async def test_what_was_put_is_read_back(self, store: ArtifactStore) -> None:
        put = await store.put("jobs/1/1/a.png", pieces(b"some ", b"", b"bytes"), media_type="image/png")
        assert (put.key, put.size_bytes, put.media_type) == ("jobs/1/1/a.png", 10, "image/png")
        assert put.sha256 == hashlib.sha256(b"some bytes").hexdigest()
        assert await read_all(store, "jobs/1/1/a.png") == b"some bytes"

    async def test_an_empty_object_is_an_object(self, store: ArtifactStore) -> None:
        put = await store.put("empty", pieces())
        assert (put.size_bytes, put.sha256) == (0, hashlib.sha256().hexdigest())
        assert (await store.stat("empty")).size_bytes == 0
        assert await read_all(store, "empty") == b""

    async def test_a_large_object_comes_back_in_small_pieces(self, store: ArtifactStore) -> None:
        block = pattern(3 * PIECE_BYTES + 7)
        put = await store.put("large", pieces(*[block] * 6))
        assert put.size_bytes == 6 * len(block)
        read = [piece async for piece in store.read("large")]
        assert max(map(len, read)) <= PIECE_BYTES
        assert b"".join(read) == block * 6

    async def test_a_file_can_be_put(self, store: ArtifactStore, tmp_path: Path) -> None:
        content = pattern(2 * PIECE_BYTES + 1)
        (tmp_path / "file").write_bytes(content)
        put = await store.put("file", FileChunks(tmp_path / "file"))
        assert put.sha256 == hashlib.sha256(content).hexdigest()
        assert await read_all(store, "file") == content

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 4), (3, 7), (5, None), (0, None), (9, 10), (7, 99), (10, None), (10, 12), (99, None), (4, 4)],
    )
    async def test_a_range_is_what_a_slice_would_be(self, store: ArtifactStore, start: int, end: int | None) -> None:
        await store.put("digits", pieces(b"0123456789"))
        assert await read_all(store, "digits", start=start, end=end) == b"0123456789"[start:end]

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4)])
    async def test_a_range_that_is_none_is_refused(self, store: ArtifactStore, start: int, end: int | None) -> None:
        await store.put("digits", pieces(b"0123456789"))
        with pytest.raises(InvalidInput):
            await read_all(store, "digits", start=start, end=end)

    async def test_what_is_absent_is_not_found(self, store: ArtifactStore) -> None:
        await store.put("folder/there", pieces(b"x"))
        for key in ("absent", "folder/absent", "absent/there", "folder"):
            with pytest.raises(NotFound):
                await read_all(store, key)
            with pytest.raises(NotFound):
                await read_all(store, key, start=1, end=2)
            with pytest.raises(NotFound):
                await store.stat(key)

    async def test_a_deleted_object_is_gone_and_its_neighbours_stay(self, store: ArtifactStore) -> None:
        for key in ("folder/one", "folder/two", "folder2/one"):
            await store.put(key, pieces(b"x"))
        await store.delete("folder/one")
        await store.delete("folder/one")
        await store.delete("never/there")
        await store.delete("folder")
        assert await keys_below(store) == ["folder/two", "folder2/one"]

    async def test_a_folder_emptied_by_deletes_can_be_used_again(self, store: ArtifactStore) -> None:
        await store.put("a/b/c", pieces(b"x"))
        await store.delete("a/b/c")
        await store.put("a/b", pieces(b"y"))
        assert await read_all(store, "a/b") == b"y"

    async def test_a_second_put_replaces_the_first(self, store: ArtifactStore) -> None:
        await store.put("key", pieces(b"a longer first"))
        await store.put("key", pieces(b"second"))
        assert await read_all(store, "key") == b"second"
        assert (await store.stat("key")).size_bytes == 6

    async def test_a_copy_has_the_same_bytes_and_a_life_of_its_own(self, store: ArtifactStore) -> None:
        await store.put("jobs/1/1/a.png", pieces(pattern(2 * PIECE_BYTES)), media_type="image/png")
        await store.put("models/a.png", pieces(b"older"))
        await store.copy("jobs/1/1/a.png", "models/a.png", media_type="image/png")
        await store.delete("jobs/1/1/a.png")
        assert await read_all(store, "models/a.png") == pattern(2 * PIECE_BYTES)
        with pytest.raises(NotFound):
            await store.copy("jobs/1/1/a.png", "models/b.png")
        with pytest.raises(InvalidInput):
            await store.copy("models/a.png", "../b.png")
        assert await keys_below(store) == ["models/a.png"]

    async def test_a_reader_sees_one_object_whole_while_it_is_replaced(self, store: ArtifactStore) -> None:
        old, new = pattern(5 * PIECE_BYTES, seed=1), pattern(5 * PIECE_BYTES, seed=2)
        await store.put("key", pieces(old))
        reader = aiter(store.read("key"))
        first = await anext(reader)
        await store.put("key", pieces(new))
        assert first + b"".join([piece async for piece in reader]) == old
        assert await read_all(store, "key") == new

    async def test_a_reader_may_leave_early(self, store: ArtifactStore) -> None:
        await store.put("key", pieces(pattern(3 * PIECE_BYTES)))
        reader = store.read("key")
        await anext(reader)
        await reader.aclose()  # type: ignore[attr-defined]  # an async generator, as every adapter returns
        assert (await store.stat("key")).size_bytes == 3 * PIECE_BYTES

    @pytest.mark.parametrize("size_bytes", [10, 12 * PIECE_BYTES])
    async def test_a_put_that_fails_leaves_nothing(self, store: ArtifactStore, size_bytes: int) -> None:
        with pytest.raises(_Broken):
            await store.put("folder/key", _breaking(pattern(size_bytes)))
        assert await keys_below(store) == []
        with pytest.raises(NotFound):
            await store.stat("folder/key")

    async def test_a_put_that_fails_leaves_what_was_there(self, store: ArtifactStore) -> None:
        await store.put("key", pieces(b"before"))
        with pytest.raises(_Broken):
            await store.put("key", _breaking(b"after"))
        assert await read_all(store, "key") == b"before"

    async def test_a_put_under_way_is_not_seen_and_leaves_nothing_when_canceled(self, store: ArtifactStore) -> None:
        arrived = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            yield pattern(12 * PIECE_BYTES)
            arrived.set()
            await asyncio.Event().wait()

        putting = asyncio.create_task(store.put("folder/key", stuck()))
        await arrived.wait()
        assert await keys_below(store) == []
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await keys_below(store) == []

    async def test_two_puts_of_one_key_at_once_leave_one_of_them_whole(self, store: ArtifactStore) -> None:
        contents = [pattern(2 * PIECE_BYTES + n, seed=n) for n in range(5)]
        await asyncio.gather(*[store.put("same/key", pieces(content)) for content in contents])
        assert await read_all(store, "same/key") in contents

    async def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(self, store: ArtifactStore) -> None:
        async def come_and_go(name: str) -> None:
            for _ in range(5):
                await store.put(f"deep/er/{name}", pieces(name.encode()))
                assert await read_all(store, f"deep/er/{name}") == name.encode()
                await store.delete(f"deep/er/{name}")

        await asyncio.gather(*[come_and_go(f"n{n}") for n in range(8)])
        assert await keys_below(store) == []

    @pytest.mark.parametrize("key", BAD_KEYS)
    async def test_a_bad_key_is_refused_by_every_call(self, store: ArtifactStore, key: str) -> None:
        with pytest.raises(InvalidInput):
            await store.put(key, pieces(b"x"))
        with pytest.raises(InvalidInput):
            await read_all(store, key)
        with pytest.raises(InvalidInput):
            await store.stat(key)
        with pytest.raises(InvalidInput):
            await store.delete(key)
        with pytest.raises(InvalidInput):
            await store.presign(key, "GET", timedelta(minutes=1))
        if key:
            with pytest.raises(InvalidInput):
                await keys_below(store, key)

    async def test_every_allowed_sign_may_stand_in_a_key(self, store: ArtifactStore) -> None:
        key = "in puts/A.b_c-d+e@f=g h/0 1.tar.gz"
        await store.put(key, pieces(b"x"))
        assert await keys_below(store) == [key]
        assert await read_all(store, key) == b"x"
        await store.delete(key)
        assert await keys_below(store) == []

    async def test_stat_tells_size_and_time(self, store: ArtifactStore) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        await store.put("key", pieces(b"12345"))
        found = await store.stat("key")
        assert (found.key, found.size_bytes) == ("key", 5)
        assert before < found.modified_at < datetime.now(UTC) + timedelta(minutes=1)

    async def test_a_walk_finds_what_lies_below_a_folder(self, store: ArtifactStore) -> None:
        for number, key in enumerate(["jobs/1/1/a", "jobs/1/1/b", "jobs/1/2/a", "jobs/10/1/a", "inputs/1/a"]):
            await store.put(key, pieces(b"x" * number))
        assert await keys_below(store, "jobs/1") == ["jobs/1/1/a", "jobs/1/1/b", "jobs/1/2/a"]
        assert await keys_below(store, "inputs") == ["inputs/1/a"]
        assert await keys_below(store, "jobs/1/1/a") == []
        assert await keys_below(store, "absent/folder") == []
        assert len(await keys_below(store)) == 5
        assert {found.key: found.size_bytes async for found in store.walk("jobs/10")} == {"jobs/10/1/a": 3}

    async def test_of_what_was_put_nothing_is_a_stray(self, store: ArtifactStore) -> None:
        await store.put("jobs/1/a", pieces(b""))
        await store.put("jobs/1/b/c", pieces(b"x"))
        assert [name async for name in store.strays("jobs/1")] == []
        assert [name async for name in store.strays("absent/folder")] == []
        with pytest.raises(InvalidInput):
            [name async for name in store.strays("../up")]

    async def test_a_walk_goes_past_one_page(self, store: ArtifactStore) -> None:
        names = [f"many/{number:04d}" for number in range(1100)]
        for begin in range(0, len(names), 50):
            await asyncio.gather(*[store.put(name, pieces()) for name in names[begin : begin + 50]])
        assert await keys_below(store, "many") == names

    async def test_what_was_put_outlives_a_restart(self, store: ArtifactStore) -> None:
        await store.put("key", pieces(b"x"))
        await store.stop()
        await store.start()
        assert await read_all(store, "key") == b"x"

    async def test_a_link_is_an_address_or_nothing(self, store: ArtifactStore) -> None:
        await store.put("key", pieces(b"x"))
        for method in ("GET", "PUT"):
            url = await store.presign("key", method, timedelta(minutes=1))
            assert url is None or url.startswith(("http://", "https://"))


class _Broken(Exception):
    """What the source of a put dies of."""


async def _breaking(first: bytes) -> AsyncIterator[bytes]:
    yield first
    raise _Broken
