from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from tests.unit.workloads.detection.folders import write, zipped

from glowplug.errors import Canceled, InvalidInput
from glowplug.workloads.detection import unpacking
from glowplug.workloads.detection.dataset import checked
from glowplug.workloads.detection.unpacking import root_of, unpacked


def unpack(archive: Path, target: Path) -> Path:
    return unpacked(archive, target, lambda: None)


def entry(archive: Path, name: str, mode: int = 0) -> Path:
    with zipfile.ZipFile(archive, "w") as held:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        held.writestr(info, "x")
    return archive


def refusal(archive: Path, target: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        unpack(archive, target)
    assert caught.value.message.startswith("dataset.archive: ")
    return caught.value.message


@pytest.mark.parametrize("top", ["", "my set", "a/b"])
def test_a_zip_is_unpacked_to_where_its_data_set_begins(tmp_path: Path, top: str) -> None:
    archive = zipped(write(tmp_path / "set"), tmp_path / "set.zip", top)
    assert len(checked(unpack(archive, tmp_path / "out")).train) == 2


def test_what_macs_add_is_left_out(tmp_path: Path) -> None:
    archive = zipped(write(tmp_path / "set"), tmp_path / "set.zip", "top")
    with zipfile.ZipFile(archive, "a") as held:
        held.writestr("__MACOSX/top/._a.png", "x")
        held.writestr("top/images/train/.DS_Store", "x")
    root = unpack(archive, tmp_path / "out")
    assert root == tmp_path / "out/top"
    assert not list((tmp_path / "out").rglob("*DS_Store*")) + list((tmp_path / "out").rglob("._*"))


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:evil"])
def test_a_path_outside_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    said = refusal(entry(tmp_path / "x.zip", name), tmp_path / "out")
    assert said.endswith(f"{name!r}: a path outside the archive")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_in_the_archive_is_refused(tmp_path: Path) -> None:
    archive = entry(tmp_path / "x.zip", "images/train/a.png", stat.S_IFLNK | 0o777)
    assert refusal(archive, tmp_path / "out").endswith("a link or a device, not a file")


def test_all_bad_entries_are_named_up_to_a_bound(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as held:
        for number in range(30):
            held.writestr(f"../{number}", "x")
    lines = refusal(tmp_path / "x.zip", tmp_path / "out").split("\n")
    assert len(lines) == 22
    assert lines[-1] == "and 10 more"


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    assert "not a zip" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    archive = zipped(write(tmp_path / "set"), tmp_path / "x.zip")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"0 0.5 0.5 0.2 0.2", b"0 0.5 0.5 0.2 0.3"))
    assert "Bad CRC-32" in refusal(archive, tmp_path / "out")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(entry(tmp_path / "x.zip", "a.txt").read_bytes())
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, directory + 8, 1)
    (tmp_path / "x.zip").write_bytes(data)
    assert refusal(tmp_path / "x.zip", tmp_path / "out").endswith("'a.txt': encrypted")


def test_a_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("a.txt", b"0" * 1_000_000)
    assert "unpacked it would be more than" in refusal(tmp_path / "x.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bomb_that_lies_about_its_size_is_stopped_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "PIECE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("a.txt", b"0" * 100_000)
    with zipfile.ZipFile(tmp_path / "x.zip") as held, pytest.raises(InvalidInput, match="goes on after the bytes"):
        unpacking._write(held, held.getinfo("a.txt"), tmp_path / "a.txt", 5000, lambda: None)
    assert (tmp_path / "a.txt").stat().st_size <= 5000


def test_entries_in_each_others_way_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as held:
        held.writestr("a", "x")
        held.writestr("a/b", "x")
    assert "in each other's way" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 3)
    archive = zipped(write(tmp_path / "set"), tmp_path / "x.zip")
    assert refusal(archive, tmp_path / "out").endswith("more than 3 files")


def test_unpacking_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    def stop() -> None:
        raise Canceled

    with pytest.raises(Canceled):
        unpacked(zipped(write(tmp_path / "set"), tmp_path / "x.zip"), tmp_path / "out", stop)


def test_a_folder_of_several_things_is_the_root_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert root_of(tmp_path) == tmp_path


def test_folders_too_deep_to_be_removed_again_are_refused(tmp_path: Path) -> None:
    assert refusal(entry(tmp_path / "x.zip", "a/" * 1900 + "x"), tmp_path / "out").endswith("folders deep")
    assert list((tmp_path / "out").iterdir()) == []


def test_packed_bytes_that_were_changed_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("images/a.png", bytes(range(256)) * 200)
    data = bytearray(archive.read_bytes())
    data[60:90] = bytes(byte ^ 0x5A for byte in data[60:90])
    archive.write_bytes(data)
    assert "not a zip that can be read" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_than_the_usual_one_are_refused(tmp_path: Path, way: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", way) as held:
        held.writestr("images/a.png", "x")
    assert "packed in a way other than deflate" in refusal(tmp_path / "x.zip", tmp_path / "out")
