"""Past loads in a file: atomic, shared, and never a reason to fail."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from glowplug.readiness import history_file
from glowplug.readiness.history import KEPT_LOADS, History, Load
from glowplug.readiness.history_file import KEPT_KEYS, HistoryFile

LOAD = Load((("import", 1.0), ("read", 2.0)))
WRITER = """
import sys
from pathlib import Path
from glowplug.readiness.history import Load
from glowplug.readiness.history_file import HistoryFile
file = HistoryFile(Path(sys.argv[1]))
for number in range(15):
    file.record(sys.argv[2], Load((("read", float(number)),)))
    file.record("shared", Load((("read", float(number)),)))
"""


def test_what_one_process_learned_the_next_one_knows(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "history.json").record("digits@cpu", LOAD)
    assert HistoryFile(tmp_path / "history.json").past("digits@cpu") == History((LOAD,))


def test_an_absent_file_is_an_empty_history(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert HistoryFile(tmp_path / "none" / "history.json").past("digits@cpu") == History()
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_when_it_is_needed(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "deep" / "history.json").record("a", LOAD)
    assert (tmp_path / "deep" / "history.json").exists()


def test_the_file_stays_small(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "history.json")
    for _ in range(KEPT_LOADS + 5):
        file.record("a", LOAD)
    assert len(file.past("a").loads) == KEPT_LOADS


def test_who_asks_for_the_past_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    """It is asked on event loops, and a writer waits for the lock of a process that was stopped."""
    file = HistoryFile(tmp_path / "history.json")
    file.record("a", LOAD)
    with (tmp_path / "history.json.lock").open("wb") as other_process:
        fcntl.flock(other_process, fcntl.LOCK_EX)
        writer = threading.Thread(target=file.record, args=("b", LOAD))
        writer.start()
        assert file.past("a") == History((LOAD,))
        assert writer.is_alive()
        fcntl.flock(other_process, fcntl.LOCK_UN)
        writer.join()
    assert file.past("b") == History((LOAD,))


def test_the_file_is_read_again_only_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two hundred components asks at the start, before the server answers."""
    path = tmp_path / "history.json"
    file = HistoryFile(path)
    HistoryFile(path).record("a", LOAD)
    parsed: list[bytes] = []
    genuine = HistoryFile._parsed

    def counted(text: bytes) -> dict[str, History]:
        parsed.append(text)
        return genuine(text)

    monkeypatch.setattr(HistoryFile, "_parsed", staticmethod(counted))
    for _ in range(5):
        assert file.past("a") == History((LOAD,))
    assert len(parsed) == 1
    monkeypatch.undo()
    HistoryFile(path).record("a", LOAD)
    assert file.past("a") == History((LOAD, LOAD))


def test_what_was_loaded_longest_ago_is_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT_KEYS > 100
    monkeypatch.setattr(history_file, "KEPT_KEYS", 3)
    file = HistoryFile(tmp_path / "history.json")
    for key in ("a", "b", "c", "a", "d"):
        file.record(key, LOAD)
    assert [key for key in "abcd" if file.past(key).loads] == ["a", "c", "d"]


def test_nothing_but_the_file_and_its_lock_is_left_behind(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "history.json").record("a", LOAD)
    assert {path.name for path in tmp_path.iterdir()} == {"history.json", "history.json.lock"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 99, "histories": {}}',
        '{"format": 1, "histories": []}',
        '{"format": 1, "histories": {"a": {"loads": 7}}}',
        "\x00\x01",
    ],
)
def test_a_corrupt_file_means_memory_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "history.json"
    path.write_text(text)
    file = HistoryFile(path)
    assert file.past("a") == History()
    file.record("a", LOAD)
    file.record("a", LOAD)
    assert file.past("a") == History((LOAD, LOAD))
    assert path.read_text() == text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "delete it to begin anew" in caplog.text


def test_bytes_that_are_no_text_are_a_corrupt_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.json"
    path.write_bytes(b"\xff\xfe\x80")
    assert HistoryFile(path).past("a") == History()
    assert len(caplog.records) == 1


def test_a_place_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.json"
    HistoryFile(path).record("a", LOAD)
    # A folder in the way of the temporary file: as good as a read-only disk, for root too.
    (tmp_path / "history.json.tmp").mkdir()
    file = HistoryFile(path)
    for _ in range(3):
        file.record("a", Load((("read", 9.0),)))
    assert [load.seconds for load in file.past("a").loads] == [3.0, 9.0, 9.0, 9.0]
    assert len(caplog.records) == 1
    assert HistoryFile(path).past("a") == History((LOAD,))


def test_a_path_that_is_a_folder_is_no_reason_to_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = HistoryFile(tmp_path)
    file.record("a", LOAD)
    assert file.past("a") == History((LOAD,))
    assert len(caplog.records) == 1


def test_a_lock_held_by_a_stopped_process_does_not_hang_a_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "LOCK_SECONDS", 0.02)
    path = tmp_path / "history.json"
    holder = os.open(tmp_path / "history.json.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        file = HistoryFile(path)
        file.record("a", LOAD)
    finally:
        os.close(holder)
    assert file.past("a") == History((LOAD,))
    assert not path.exists()
    assert len(caplog.records) == 1


def test_writing_works_again_once_it_can(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text("{")
    file = HistoryFile(path)
    file.record("a", LOAD)
    path.unlink()
    file.record("a", LOAD)
    assert HistoryFile(path).past("a") == History((LOAD,))


def test_a_half_written_file_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    file = HistoryFile(path)
    file.record("a", LOAD)
    seen: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        file.record("a", LOAD)
    over.set()
    reader.join(20)
    assert all(json.loads(text)["format"] == 1 for text in seen)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), key], stderr=subprocess.PIPE, text=True)
        for key in ("a", "b")
    ]
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert errors == ["", ""]
    file = HistoryFile(path)
    assert [len(file.past(key).loads) for key in ("a", "b", "shared")] == [15, 15, KEPT_LOADS]
