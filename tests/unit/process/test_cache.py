"""A place in the cache: its name, its lock, and the moment when it becomes complete."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.errors import SettingsError
from glowplug.process.cache import CacheEntry, FileRecord, Manifest, clean

URL = "s3://models/captioner"
MANIFEST = Manifest(URL, False, (FileRecord("net.bin", 3, "0" * 64), FileRecord("sub/b.bin", 1, "1" * 64)))

HOLDER = """
import sys
from pathlib import Path
from glowplug.process.cache import CacheEntry
entry = CacheEntry(Path(sys.argv[1]))
print(entry.try_lock(alone=sys.argv[2] == "alone"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[CacheEntry]:
    entry = CacheEntry.of(tmp_path, URL)
    yield entry
    entry.unlock()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[CacheEntry]:
    other = CacheEntry.of(tmp_path, URL)
    yield other
    other.unlock()


def fill(entry: CacheEntry) -> None:
    (entry.partial / "files" / "sub").mkdir(parents=True)
    (entry.partial / "files" / "net.bin").write_bytes(b"net")
    (entry.partial / "files" / "sub" / "b.bin").write_bytes(b"b")


class TestNames:
    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("s3://models/captioner/", "captioner"),
            ("s3://models/a/net v2!.onnx", "net-v2-.onnx"),
            ("s3://models", "weights"),
            ("s3://models/..", "weights"),
            ("s3://models/" + "x" * 200, "x" * 48),
            ("hub:org/model", "model"),
        ],
    )
    def test_a_folder_is_named_after_the_address_and_safely(self, tmp_path: Path, url: str, name: str) -> None:
        folder = CacheEntry.of(tmp_path, url).folder
        assert folder.parent == tmp_path
        assert folder.name[:-17] == name

    def test_two_addresses_never_share_a_folder(self, tmp_path: Path) -> None:
        folders = {CacheEntry.of(tmp_path, url).folder for url in ("s3://a/net", "s3://b/net", "s3://a/net#sha256=00")}
        assert len(folders) == 3


class TestCompletion:
    def test_a_published_folder_is_complete(self, entry: CacheEntry) -> None:
        fill(entry)
        assert entry.complete() is None
        entry.publish(MANIFEST)
        assert entry.complete() == MANIFEST
        assert entry.path_of(MANIFEST) == entry.folder / "files"
        assert not entry.partial.exists()

    def test_of_a_single_file_the_file_itself_is_given(self, entry: CacheEntry) -> None:
        single = Manifest(URL, True, (FileRecord("net.bin", 3, "0" * 64),))
        assert entry.path_of(single) == entry.folder / "files" / "net.bin"

    def test_only_what_the_manifest_names_is_published(self, entry: CacheEntry) -> None:
        fill(entry)
        (entry.partial / "journal").write_text("x")
        (entry.partial / "files" / "stray").write_text("x")
        entry.publish(MANIFEST)
        files = sorted(path.relative_to(entry.folder).as_posix() for path in entry.folder.rglob("*") if path.is_file())
        assert files == ["files/net.bin", "files/sub/b.bin", "manifest.json"]

    def test_a_new_version_takes_the_place_of_a_broken_one(self, entry: CacheEntry) -> None:
        fill(entry)
        entry.publish(MANIFEST)
        (entry.folder / "files" / "net.bin").write_bytes(b"cut")
        (entry.folder / "files" / "sub" / "b.bin").unlink()
        assert entry.complete() is None
        fill(entry)
        entry.publish(MANIFEST)
        assert entry.complete() == MANIFEST

    @pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"url": 1, "single": true, "files": [{"name": "x"}]}'])
    def test_a_manifest_that_makes_no_sense_is_none(self, entry: CacheEntry, text: str) -> None:
        entry.folder.mkdir(parents=True)
        (entry.folder / "manifest.json").write_text(text)
        assert entry.complete() is None


class TestLocks:
    def test_many_may_use_and_one_may_change(self, entry: CacheEntry, other: CacheEntry) -> None:
        assert entry.try_lock(alone=False)
        assert other.try_lock(alone=False)
        assert not other.try_lock(alone=True)
        assert entry.try_lock(alone=True)
        assert not other.try_lock(alone=False)
        entry.unlock()
        entry.unlock()
        assert other.try_lock(alone=True)

    def test_the_one_who_changed_goes_on_using(self, entry: CacheEntry, other: CacheEntry) -> None:
        assert entry.try_lock(alone=True)
        assert entry.try_lock(alone=False)
        assert other.try_lock(alone=False)
        assert not other.try_lock(alone=True)

    def test_a_killed_process_holds_nothing(self, entry: CacheEntry) -> None:
        command = [sys.executable, "-c", HOLDER, str(entry.folder), "alone"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "True\n"
            assert not entry.try_lock(alone=False)
            holder.kill()
            holder.wait()
        assert entry.try_lock(alone=True)

    def test_a_child_process_does_not_inherit_the_lock(self, entry: CacheEntry, other: CacheEntry) -> None:
        assert entry.try_lock(alone=True)
        with subprocess.Popen(["sleep", "60"]) as child:
            entry.unlock()
            assert other.try_lock(alone=True)
            child.kill()

    def test_a_folder_that_is_none_is_a_setting_to_mend(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(SettingsError, match="name another"):
            CacheEntry.of(tmp_path / "file", URL).try_lock(alone=True)


def test_cleaning_keeps_what_fits_and_counts_what_went(tmp_path: Path) -> None:
    for url in ("s3://models/a", "s3://models/b"):
        entry = CacheEntry.of(tmp_path, url)
        assert entry.try_lock(alone=True)
        fill(entry)
        entry.publish(MANIFEST)
        entry.unlock()
    whole = sum(CacheEntry.of(tmp_path, url).size_bytes() for url in ("s3://models/a", "s3://models/b"))
    assert clean(tmp_path, whole) == 0
    assert 0 < clean(tmp_path, whole - 1) < whole
    assert clean(tmp_path, 0) > 0
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert clean(tmp_path / "absent", 0) == 0
