"""Weights come to the machine once, whole and verified, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.servers.counting_store import CountingStore
from tests.servers.seaweed import BUCKET, S3Server, s3

from glowplug.artifact import ArtifactStore
from glowplug.artifacts.objects import ObjectArtifacts, object_source
from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import Corrupt, DiskFull, NotFound, SettingsError, Unreachable
from glowplug.events import EventSpec, set_sink
from glowplug.process import download
from glowplug.process.cache import CacheEntry
from glowplug.process.download import journaled_bytes
from glowplug.process.weights import Address, Weights
from glowplug.testing.artifacts import pattern, pieces

__all__ = ["s3"]

pytestmark = pytest.mark.timeout(60)

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 64 * KIB
NET = "s3://models/captioner"

Told = tuple[int, int | None, str]


class HastyClock(SystemClock):
    """Pauses are turns of the loop."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


class RushingClock(HastyClock):
    """A second goes by between any two looks."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BLOCK_BYTES", BLOCK)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[CountingStore]:
    async with CountingStore(tmp_path / "source") as source:
        yield source


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def weights(source: CountingStore, cache: Path) -> Iterator[Weights]:
    weights = Weights(cache, lambda url: (source, key_of(url)), HastyClock())
    yield weights
    weights.release()


@pytest.fixture
def told() -> list[Told]:
    return []


@pytest.fixture
def tell(told: list[Told]) -> Callable[[int, int | None, str], None]:
    return lambda done, total, stage: told.append((done, total, stage))


@pytest.fixture
def events() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    seen: list[tuple[str, dict[str, Any]]] = []

    def note(spec: EventSpec, fields: dict[str, Any]) -> None:
        seen.append((spec.name, fields))

    before = set_sink(note)
    yield seen
    set_sink(before)


def key_of(url: str) -> str:
    return url.partition("//")[2].partition("/")[2]


def quiet(done: int, total: int | None, stage: str) -> None:
    del done, total, stage


async def store_model(source: CountingStore, folder: str = "captioner", seed: int = 0) -> dict[str, bytes]:
    """Put a small model with a nested folder and an empty file; return its files."""
    files = {
        "config.json": b"{}",
        "net.safetensors": pattern(10 * BLOCK + 17, seed),
        "text_encoder/model.safetensors": pattern(3 * BLOCK, seed + 1),
        "empty": b"",
    }
    for name, content in files.items():
        await source.put(f"{folder}/{name}", pieces(content))
    return files


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entry_of(cache: Path, url: str) -> CacheEntry:
    return CacheEntry.of(cache / "weights", url)


class TestFetching:
    async def test_a_folder_comes_whole_and_is_not_fetched_again(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        files = await store_model(source)
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        assert files_in(path) == files
        assert path.is_relative_to(cache / "weights")
        assert source.bytes_read() == sum(map(len, files.values()))
        assert await weights.fetch({"net": NET}, quiet) == {"net": path}
        assert source.bytes_read() == sum(map(len, files.values()))

    async def test_a_single_file_is_given_by_its_own_path(self, weights: Weights, source: CountingStore) -> None:
        await source.put("nets/small.onnx", pieces(b"onnx"))
        path = (await weights.fetch({"net": "s3://models/nets/small.onnx"}, quiet))["net"]
        assert path.name == "small.onnx"
        assert path.read_bytes() == b"onnx"

    async def test_a_whole_bucket_may_be_a_model(self, weights: Weights, source: CountingStore) -> None:
        await source.put("net.onnx", pieces(b"onnx"))
        path = (await weights.fetch({"net": "s3://models"}, quiet))["net"]
        assert files_in(path) == {"net.onnx": b"onnx"}

    async def test_several_addresses_are_fetched_together_and_the_same_one_once(
        self, weights: Weights, source: CountingStore, told: list[Told], tell: Callable[..., None]
    ) -> None:
        first = await store_model(source, "first")
        second = await store_model(source, "second", seed=7)
        total = sum(map(len, [*first.values(), *second.values()]))
        declared = {"a": "s3://models/first", "b": "s3://models/second", "c": "s3://models/first"}
        paths = await weights.fetch(declared, tell)
        assert paths["a"] == paths["c"] != paths["b"]
        assert (files_in(paths["a"]), files_in(paths["b"])) == (first, second)
        assert source.bytes_read() == total
        fetched = [done for done, of, stage in told if stage == "fetch"]
        assert {of for _, of, stage in told if stage == "fetch"} == {total}
        assert fetched == sorted(fetched)
        assert fetched[-1] == total

    async def test_nothing_declared_is_nothing_fetched(self, weights: Weights, told: list[Told]) -> None:
        assert await weights.fetch({}, quiet) == {}

    async def test_a_store_that_was_not_started_is_started_and_stopped(self, tmp_path: Path, cache: Path) -> None:
        source = CountingStore(tmp_path / "source")
        async with source:
            await store_model(source)
        weights = Weights(cache, lambda url: (source, key_of(url)), HastyClock())
        await weights.fetch({"net": NET}, quiet)
        assert source.starts == 2
        assert not source.started

    async def test_once_fetched_the_source_is_not_asked_any_more(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        files = await store_model(source)
        await weights.fetch({"net": NET}, quiet)

        def offline(url: str) -> tuple[ArtifactStore, str]:
            raise Unreachable(f"no way to {url}")

        path = (await Weights(cache, offline, HastyClock()).fetch({"net": NET}, quiet))["net"]
        assert files_in(path) == files

    async def test_what_was_fetched_is_private_to_its_owner(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        await store_model(source)
        await weights.fetch({"net": NET}, quiet)
        assert (cache / "weights").stat().st_mode & 0o077 == 0

    async def test_files_deleted_from_the_cache_are_fetched_again(
        self, weights: Weights, source: CountingStore
    ) -> None:
        files = await store_model(source)
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        (path / "net.safetensors").unlink()
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_a_file_cut_short_in_the_cache_is_fetched_again(
        self, weights: Weights, source: CountingStore
    ) -> None:
        files = await store_model(source)
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        os.truncate(path / "net.safetensors", 5)
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_events_tell_of_success_and_failure(
        self, weights: Weights, source: CountingStore, events: list[tuple[str, dict[str, Any]]]
    ) -> None:
        files = await store_model(source)
        await weights.fetch({"net": NET}, quiet)
        with pytest.raises(NotFound):
            await weights.fetch({"net": "s3://models/absent"}, quiet)
        (good, fetched), (bad, failed) = events
        assert (good, fetched["source"], fetched["bytes"]) == ("weights.fetched", NET, sum(map(len, files.values())))
        assert (bad, failed["source"]) == ("weights.failed", "s3://models/absent")


class TestInPlace:
    @pytest.mark.parametrize("form", ["{path}", "file://{path}"])
    async def test_what_lies_on_this_machine_is_used_where_it_is(
        self, weights: Weights, tmp_path: Path, cache: Path, form: str
    ) -> None:
        model = tmp_path / "a model"
        model.mkdir()
        (model / "net.bin").write_bytes(b"net")
        address = form.format(path=str(model).replace(" ", "%20") if form.startswith("file") else model)
        assert await weights.fetch({"net": address}, quiet) == {"net": model}
        assert not cache.exists()

    async def test_a_relative_path_and_a_home_are_understood(
        self, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "net.bin").write_bytes(b"net")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        paths = await weights.fetch({"a": "net.bin", "b": "~/net.bin"}, quiet)
        assert paths == {"a": tmp_path / "net.bin", "b": tmp_path / "net.bin"}

    async def test_nothing_there_is_not_found(self, weights: Weights, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no weights at .*absent"):
            await weights.fetch({"net": str(tmp_path / "absent")}, quiet)

    async def test_what_may_not_be_read_is_said(
        self, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> int:
            raise PermissionError(13, "Permission denied", "net.bin")

        (tmp_path / "net.bin").write_bytes(b"net")
        monkeypatch.setattr("glowplug.process.readahead.FileIO", refused)
        with pytest.raises(SettingsError, match="Permission denied"):
            await weights.fetch({"net": str(tmp_path / "net.bin")}, quiet)


class TestAddresses:
    @pytest.mark.parametrize("address", ["ftp://host/net", "https://host/net", "hub:org/model", "S3://models/net"])
    def test_an_unknown_scheme_lists_the_known_ones(self, address: str) -> None:
        with pytest.raises(SettingsError, match=r"use one of s3:, gs:, az:, file:, a path"):
            Address.parse(address)

    def test_more_schemes_may_be_allowed(self) -> None:
        assert Address.parse("hub:org/model", ("s3", "hub")) == Address("hub:org/model")

    @pytest.mark.parametrize("digest", ["abc", "g" * 64, "a" * 65])
    def test_a_digest_that_is_none_is_refused(self, digest: str) -> None:
        with pytest.raises(SettingsError, match="64 hexadecimal digits"):
            Address.parse(f"s3://models/net#sha256={digest}")

    def test_a_digest_is_part_of_the_identity(self) -> None:
        plain, digested = Address.parse("s3://m/net"), Address.parse("s3://m/net#sha256=" + "AB" * 32)
        assert digested.sha256 == "ab" * 32
        assert plain.identity != digested.identity
        assert plain.url == digested.url

    async def test_an_address_where_nothing_lies_is_not_found(self, weights: Weights) -> None:
        with pytest.raises(NotFound, match="no weights at s3://models/captioner"):
            await weights.fetch({"net": NET}, quiet)


class TestDigests:
    async def test_a_digest_that_fits_is_fine(self, weights: Weights, source: CountingStore) -> None:
        content = pattern(3 * BLOCK + 5)
        await source.put("net.bin", pieces(content))
        address = f"s3://models/net.bin#sha256={hashlib.sha256(content).hexdigest()}"
        assert (await weights.fetch({"net": address}, quiet))["net"].read_bytes() == content

    async def test_damage_on_the_way_is_fetched_once_more(self, weights: Weights, source: CountingStore) -> None:
        content = pattern(3 * BLOCK + 5)
        await source.put("net.bin", pieces(content))
        bent: list[str] = []

        def bend_once(key: str, piece: bytes) -> bytes:
            bent.append(key)
            return piece if len(bent) > 1 else b"X" + piece[1:]

        source.bend = bend_once
        address = f"s3://models/net.bin#sha256={hashlib.sha256(content).hexdigest()}"
        assert (await weights.fetch({"net": address}, quiet))["net"].read_bytes() == content
        assert source.bytes_read() == 2 * len(content)

    async def test_what_never_fits_is_corrupt_and_not_kept(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        await source.put("net.bin", pieces(pattern(2 * BLOCK)))
        address = f"s3://models/net.bin#sha256={'0' * 64}"
        with pytest.raises(Corrupt, match=r"net\.bin does not have the SHA-256"):
            await weights.fetch({"net": address}, quiet)
        assert source.bytes_read() == 4 * BLOCK
        assert [path for path in cache.rglob("net.bin*") if path.is_file() and path.suffix != ".lock"] == []

    async def test_a_list_in_the_folder_is_checked_and_only_what_is_wrong_comes_again(
        self, weights: Weights, source: CountingStore
    ) -> None:
        files = await store_model(source)
        sums = "".join(f"{hashlib.sha256(content).hexdigest()}  ./{name}\n" for name, content in files.items())
        await source.put("captioner/SHA256SUMS", pieces(sums.encode()))
        bent: list[str] = []

        def bend_once(key: str, piece: bytes) -> bytes:
            if not key.endswith("encoder/model.safetensors") or bent:
                return piece
            bent.append(key)
            return b"X" + piece[1:]

        source.bend = bend_once
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        assert files_in(path) == {**files, "SHA256SUMS": sums.encode()}
        again = len(files["text_encoder/model.safetensors"]) + len(sums)
        assert source.bytes_read() == sum(map(len, files.values())) + len(sums) + again

    @pytest.mark.parametrize("sums", [b"no list\n", b"\xff\xfe", b"0" * 64 + b"  absent\n"])
    async def test_a_list_that_cannot_be_met_is_corrupt(
        self, weights: Weights, source: CountingStore, sums: bytes
    ) -> None:
        await store_model(source)
        await source.put("captioner/SHA256SUMS", pieces(sums))
        with pytest.raises(Corrupt):
            await weights.fetch({"net": NET}, quiet)

    async def test_a_digest_of_a_folder_is_a_wrong_setting(self, weights: Weights, source: CountingStore) -> None:
        await store_model(source)
        with pytest.raises(SettingsError, match="SHA256SUMS"):
            await weights.fetch({"net": f"{NET}#sha256={'0' * 64}"}, quiet)


class TestInterruptions:
    async def test_a_canceled_fetch_goes_on_where_it_was(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        files = await store_model(source)
        source.stall_at = 6 * BLOCK
        fetching = asyncio.create_task(weights.fetch({"net": NET}, quiet))
        await source.stalled.wait()
        await until(lambda: journaled(cache) >= 9 * BLOCK)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        source.stall_at = None
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        assert files_in(path) == files
        assert source.bytes_read() == sum(map(len, files.values()))

    async def test_a_source_that_goes_away_for_good_is_unreachable_and_what_came_is_kept(
        self, weights: Weights, source: CountingStore
    ) -> None:
        files = await store_model(source)
        source.failures = [Unreachable("gone")] * 500
        source.failures.insert(0, NotFound("the stat of a folder"))
        source.failures.reverse()
        with pytest.raises(Unreachable) as caught:
            await weights.fetch({"net": NET}, quiet)
        assert caught.value.retryable
        source.failures = []
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_a_connection_that_breaks_now_and_then_is_not_even_noticed(
        self, weights: Weights, source: CountingStore
    ) -> None:
        files = await store_model(source)
        source.failures = [Unreachable("hiccup"), Unreachable("hiccup"), NotFound("the stat of a folder")]
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_a_source_that_changes_meanwhile_is_not_mixed(self, weights: Weights, source: CountingStore) -> None:
        await store_model(source)
        source.stall_at = 6 * BLOCK
        fetching = asyncio.create_task(weights.fetch({"net": NET}, quiet))
        await source.stalled.wait()
        newer = await store_model(source, seed=50)
        source.go_on.set()
        with pytest.raises(Unreachable, match="changed while it was fetched"):
            await fetching
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == newer

    async def test_a_partial_file_that_was_damaged_meanwhile_is_found_out(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        files = await store_model(source)
        await fetch_until_stalled(weights, source, cache)
        with (entry_of(cache, NET).partial / "files" / "net.safetensors").open("r+b") as stream:
            stream.write(b"\0" * 100)
        source.stall_at = None
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files
        assert source.reads.count(("captioner/net.safetensors", 0, BLOCK)) == 2
        assert source.reads.count(("captioner/net.safetensors", BLOCK, BLOCK)) == 1

    @pytest.mark.parametrize("garbage", [b"", b"\0" * 50, b'{"name": "net.saf', b"[]\n{}\n"])
    async def test_a_journal_that_was_damaged_costs_a_second_fetch_and_nothing_else(
        self, weights: Weights, source: CountingStore, cache: Path, garbage: bytes
    ) -> None:
        files = await store_model(source)
        await fetch_until_stalled(weights, source, cache)
        (entry_of(cache, NET).partial / "journal").write_bytes(garbage)
        source.stall_at = None
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_leftovers_of_an_earlier_version_are_not_among_the_files(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        await store_model(source)
        await source.put("captioner/old.bin", pieces(b"old"))
        await fetch_until_stalled(weights, source, cache)
        await source.delete("captioner/old.bin")
        source.stall_at = None
        assert "old.bin" not in files_in((await weights.fetch({"net": NET}, quiet))["net"])


class TestProgress:
    async def test_bytes_are_told_for_the_fetch_and_then_for_the_reading(
        self, weights: Weights, source: CountingStore, told: list[Told], tell: Callable[..., None]
    ) -> None:
        total = sum(map(len, (await store_model(source)).values()))
        await weights.fetch({"net": NET}, tell)
        assert told[-1] == (total, total, "read")
        assert (total, total, "fetch") in told
        stages = [stage for _, _, stage in told]
        assert stages == sorted(stages)
        told.clear()
        await weights.fetch({"net": NET}, tell)
        assert {stage for _, _, stage in told} == {"read"}

    async def test_it_is_told_ten_times_a_second_at_most_and_at_the_end(
        self, source: CountingStore, cache: Path, told: list[Told], tell: Callable[..., None]
    ) -> None:
        total = sum(map(len, (await store_model(source)).values()))
        clock = ManualClock()
        weights = Weights(cache, lambda url: (source, key_of(url)), clock)
        await weights.fetch({"net": NET}, tell)
        assert len([1 for _, _, stage in told if stage == "fetch"]) == 2
        assert (total, total, "fetch") in told
        assert told[-1] == (total, total, "read")
        weights.release()

    async def test_a_resumed_fetch_tells_first_what_is_there(
        self, source: CountingStore, cache: Path, told: list[Told], tell: Callable[..., None]
    ) -> None:
        await store_model(source)
        weights = Weights(cache, lambda url: (source, key_of(url)), RushingClock())
        await fetch_until_stalled(weights, source, cache)
        before = len(source.reads)
        fetching = asyncio.create_task(weights.fetch({"net": NET}, tell))
        await until(lambda: bool(told) and told[-1][0] > 9 * BLOCK)
        assert len(source.reads) == before
        source.go_on.set()
        await fetching
        weights.release()


class TestDiskSpace:
    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small disk needs root")
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)

    async def test_too_little_room_is_said_with_the_figures_before_anything_is_fetched(
        self, source: CountingStore, small_disk: Path
    ) -> None:
        await source.put("net.bin", pieces(pattern(2 * MIB)))
        weights = Weights(small_disk, lambda url: (source, key_of(url)), HastyClock())
        with pytest.raises(DiskFull, match=r"2,097,152 bytes are needed, [0-9,]+ are free") as caught:
            await weights.fetch({"net": "s3://models/net.bin"}, quiet)
        assert caught.value.data["wanted_bytes"] == 2 * MIB
        assert source.reads == []
        weights.release()

    async def test_a_disk_that_fills_up_meanwhile_is_full_and_what_came_is_kept(
        self, source: CountingStore, small_disk: Path
    ) -> None:
        content = pattern(12 * BLOCK)
        await source.put("net.bin", pieces(content))
        weights = Weights(small_disk, lambda url: (source, key_of(url)), HastyClock())
        source.stall_at = 6 * BLOCK
        fetching = asyncio.create_task(weights.fetch({"net": "s3://models/net.bin"}, quiet))
        await source.stalled.wait()
        (small_disk / "other").write_bytes(b"x" * 7 * BLOCK)
        source.go_on.set()
        with pytest.raises(DiskFull):
            await fetching
        (small_disk / "other").unlink()
        path = (await weights.fetch({"net": "s3://models/net.bin"}, quiet))["net"]
        assert path.read_bytes() == content
        assert source.reads.count(("net.bin", 0, BLOCK)) == 1
        weights.release()

    async def test_a_cache_that_cannot_be_written_to_is_a_setting_to_mend(
        self, source: CountingStore, tmp_path: Path
    ) -> None:
        await store_model(source)
        (tmp_path / "file").write_text("not a folder")
        weights = Weights(tmp_path / "file", lambda url: (source, key_of(url)), HastyClock())
        with pytest.raises(SettingsError, match="cannot be written to"):
            await weights.fetch({"net": NET}, quiet)

    async def test_weights_in_a_read_only_image_can_be_used(
        self, weights: Weights, source: CountingStore, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = await store_model(source)
        await weights.fetch({"net": NET}, quiet)

        def read_only(*_: object, **__: object) -> int:
            raise OSError(30, "Read-only file system")

        other = Weights(cache, lambda url: (source, key_of(url)), HastyClock())
        monkeypatch.setattr("glowplug.process.cache.os.open", read_only)
        assert files_in((await other.fetch({"net": NET}, quiet))["net"]) == files


class TestCleaning:
    async def test_the_least_recently_used_go_first(self, weights: Weights, source: CountingStore, cache: Path) -> None:
        for age, name in enumerate(["newest", "middle", "oldest"]):
            await source.put(f"{name}/net.bin", pieces(pattern(4 * BLOCK, seed=age)))
            await weights.fetch({"net": f"s3://models/{name}"}, quiet)
            lock = cache / "weights" / (entry_of(cache, f"s3://models/{name}").folder.name + ".lock")
            os.utime(lock, (1e9 - age, 1e9 - age))
        weights.release()
        removed = await weights.clean(9 * BLOCK)
        assert removed >= 4 * BLOCK
        left = [path.name.rpartition("-")[0] for path in (cache / "weights").iterdir() if path.is_dir()]
        assert sorted(left) == ["middle", "newest"]

    async def test_using_weights_again_makes_them_recent(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        for name in ("one", "two"):
            await source.put(f"{name}/net.bin", pieces(pattern(4 * BLOCK)))
            await weights.fetch({"net": f"s3://models/{name}"}, quiet)
            lock = cache / "weights" / (entry_of(cache, f"s3://models/{name}").folder.name + ".lock")
            os.utime(lock, (1e9, 1e9))
        await weights.fetch({"net": "s3://models/one"}, quiet)
        weights.release()
        await weights.clean(5 * BLOCK)
        left = [path.name.rpartition("-")[0] for path in (cache / "weights").iterdir() if path.is_dir()]
        assert left == ["one"]

    async def test_what_is_in_use_stays_whoever_uses_it(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        files = await store_model(source)
        path = (await weights.fetch({"net": NET}, quiet))["net"]
        other = Weights(cache, lambda url: (source, key_of(url)), HastyClock())
        assert await other.clean(0) == 0
        assert await weights.clean(0) == 0
        assert files_in(path) == files
        weights.release()
        assert await other.clean(0) > 0
        assert not path.exists()

    async def test_what_is_being_fetched_stays(self, weights: Weights, source: CountingStore, cache: Path) -> None:
        files = await store_model(source)
        source.stall_at = 6 * BLOCK
        fetching = asyncio.create_task(weights.fetch({"net": NET}, quiet))
        await source.stalled.wait()
        assert await weights.clean(0) == 0
        source.go_on.set()
        assert files_in((await fetching)["net"]) == files

    async def test_an_unfinished_fetch_that_nobody_goes_on_with_is_removed(
        self, weights: Weights, source: CountingStore, cache: Path
    ) -> None:
        await store_model(source)
        await fetch_until_stalled(weights, source, cache)
        assert await weights.clean(0) > 0
        assert not entry_of(cache, NET).partial.exists()

    async def test_removed_weights_are_fetched_again(self, weights: Weights, source: CountingStore) -> None:
        files = await store_model(source)
        await weights.fetch({"net": NET}, quiet)
        weights.release()
        await weights.clean(0)
        assert files_in((await weights.fetch({"net": NET}, quiet))["net"]) == files

    async def test_an_empty_cache_has_nothing_to_clean(self, weights: Weights) -> None:
        assert await weights.clean(0) == 0


class TestSeveralAtOnce:
    async def test_two_hosts_of_one_process_fetch_once(self, weights: Weights, source: CountingStore) -> None:
        files = await store_model(source)
        paths = await asyncio.gather(*[weights.fetch({"net": NET}, quiet) for _ in range(5)])
        assert len({path["net"] for path in paths}) == 1
        assert source.bytes_read() == sum(map(len, files.values()))

    async def test_two_processes_fetch_once_and_the_second_sees_the_first_one_work(
        self, source: CountingStore, tmp_path: Path
    ) -> None:
        content = pattern(10 * 8 * MIB)
        await source.put("net.bin", pieces(content))
        with fetcher(tmp_path, stall_at=4 * 8 * MIB) as first:
            await until(lambda: journaled(tmp_path / "cache", "s3://models/net.bin") == 4 * 8 * MIB)
            with fetcher(tmp_path) as second:
                while not (line := await next_line(second)).startswith(f"progress {4 * 8 * MIB} {10 * 8 * MIB} fetch"):
                    assert line.startswith("progress")
                (tmp_path / "go").touch()
                path = await last_line(first)
                assert await last_line(second) == path
        assert Path(path).read_bytes() == content
        assert sorted(reads(tmp_path)) == sorted({*reads(tmp_path)})
        assert len(reads(tmp_path)) == 10

    async def test_a_waiter_takes_over_from_one_that_was_killed_and_fetches_no_block_twice(
        self, source: CountingStore, tmp_path: Path
    ) -> None:
        content = pattern(10 * 8 * MIB)
        await source.put("net.bin", pieces(content))
        with fetcher(tmp_path, stall_at=4 * 8 * MIB) as first:
            await until(lambda: journaled(tmp_path / "cache", "s3://models/net.bin") == 4 * 8 * MIB)
            with fetcher(tmp_path) as second:
                assert (await next_line(second)).startswith("progress")
                first.kill()
                path = await last_line(second)
        assert Path(path).read_bytes() == content
        assert len(reads(tmp_path)) == len({*reads(tmp_path)}) == 10

    async def test_weights_that_another_process_uses_are_not_removed(
        self, source: CountingStore, weights: Weights, tmp_path: Path
    ) -> None:
        await source.put("net.bin", pieces(b"net"))
        with fetcher(tmp_path) as user:
            path = Path(await last_line(user))
            assert await weights.clean(0) == 0
            assert path.exists()
        assert await weights.clean(0) > 0
        assert not path.exists()


class TestObjectStorage:
    async def test_a_model_comes_from_a_real_s3_server(
        self, s3: S3Server, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "BLOCK_BYTES", MIB)
        files = {"config.json": b"{}", "net/model.bin": pattern(5 * MIB + 3)}
        async with ObjectArtifacts(f"s3://{BUCKET}/some model", s3.options()) as store:
            for name, content in files.items():
                await store.put(name, pieces(content))
        weights = Weights(cache, lambda url: object_source(url, s3.options()), SystemClock())
        path = (await weights.fetch({"net": f"s3://{BUCKET}/some model"}, quiet))["net"]
        assert files_in(path) == files
        weights.release()

    async def test_nobody_at_the_address_is_unreachable(self, cache: Path) -> None:
        options = {"endpoint": "http://127.0.0.1:9", "access_key_id": "a", "secret_access_key": "b"}

        def open_source(url: str) -> tuple[ArtifactStore, str]:
            return ObjectArtifacts("s3://models", options, retry_seconds=0.1), key_of(url)

        with pytest.raises(Unreachable) as caught:
            await Weights(cache, open_source, SystemClock()).fetch({"net": NET}, quiet)
        assert caught.value.retryable


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process or thread brings about."""
    while not condition():
        await asyncio.sleep(0.005)


def journaled(cache: Path, url: str = NET) -> int:
    return journaled_bytes(entry_of(cache, url).partial / "files")


async def fetch_until_stalled(weights: Weights, source: CountingStore, cache: Path) -> None:
    """Leave a fetch half-way: six blocks of the large file, and all small files."""
    source.stall_at = 6 * BLOCK
    fetching = asyncio.create_task(weights.fetch({"net": NET}, quiet))
    await source.stalled.wait()
    await until(lambda: journaled(cache) >= 9 * BLOCK)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


@contextmanager
def fetcher(folder: Path, stall_at: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a process that fetches `s3://models/net.bin`, until the block ends."""
    program = Path(__file__).with_name("weights_program.py")
    arguments = [str(folder / "cache"), str(folder / "source"), "s3://models/net.bin", str(folder / "log")]
    process = subprocess.Popen(
        [sys.executable, str(program), *arguments, "" if stall_at is None else str(stall_at)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line, "the process ended early"
    return line.strip()


async def last_line(process: subprocess.Popen[str]) -> str:
    """Return the path that the process tells in the end."""
    while not (line := await next_line(process)).startswith("path "):
        pass
    return line.removeprefix("path ")


def reads(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()
