"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from glowplug.boot import bind
from glowplug.data_folder import DataFolder
from glowplug.doctor import CHECKS, Finding, examine
from glowplug.settings import Settings


def findings(folder: Path, **environment: str) -> dict[str, Finding]:
    own = {"GLOWPLUG_DATA": str(folder / "data"), "GLOWPLUG_CACHE": str(folder / "cache"), "GLOWPLUG_PORT": "0"}
    return {one.check: one for one in examine(Settings.load({**own, **environment}))}


def test_a_healthy_machine_has_nothing_to_mend(tmp_path: Path) -> None:
    found = findings(tmp_path, GLOWPLUG_RETENTION_MIN_FREE_BYTES="1")
    assert [one for one in found.values() if one.verdict == "fail"] == []
    assert {"python", "data folder", "cache folder", "disk", "tokens", "access", "port", "database"} <= set(found)


def test_whatever_is_not_well_comes_with_a_fix(tmp_path: Path) -> None:
    found = findings(tmp_path, GLOWPLUG_HOST="0.0.0.0", GLOWPLUG_RETENTION_MIN_FREE_BYTES="900TiB")
    unwell = [one for one in found.values() if one.verdict != "ok"]
    assert {"access", "disk"} <= {one.check for one in unwell}
    assert [one.check for one in unwell if not one.fix] == []


def test_a_data_folder_that_is_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert findings(tmp_path)["data folder"].verdict == "fail"


def test_a_folder_of_cards_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    assert findings(tmp_path)["cards"].verdict == "ok"
    shutil.rmtree(folder.cards)
    folder.cards.write_text("in the way")
    found = findings(tmp_path)["cards"]
    assert (found.verdict, str(folder.cards) in found.detail) == ("fail", True)
    assert found.fix.startswith("make it writable")


def test_a_cache_folder_that_cannot_be_made_is_a_note_only(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert findings(tmp_path)["cache folder"].verdict == "note"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_can_read_is_found(tmp_path: Path, mode: int) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    folder.read_worker_token()
    assert findings(tmp_path)["tokens"].verdict == "ok"
    folder.worker_token.chmod(mode)
    found = findings(tmp_path)["tokens"]
    assert (found.verdict, found.fix) == ("fail", f"chmod go= {folder.worker_token}")


def test_a_port_that_somebody_else_has_is_found(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        found = findings(tmp_path, GLOWPLUG_PORT=str(port))["port"]
    assert found.verdict == "fail"
    assert str(port) in found.detail


def test_a_gateway_that_does_not_answer_is_found(tmp_path: Path) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = findings(tmp_path, GLOWPLUG_URL=url)["gateway"]
    assert found.verdict == "fail"
    assert url in found.detail


def test_a_sound_database_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    with closing(sqlite3.connect(folder.database)) as database:
        database.execute("CREATE TABLE jobs (id TEXT)")
        database.commit()
    assert findings(tmp_path)["database"].verdict == "ok"
    folder.database.write_bytes(b"not a database" * 1000)
    found = findings(tmp_path)["database"]
    assert found.verdict == "fail"
    assert "backup" in found.fix


def test_a_database_of_another_kind_shows_no_password(tmp_path: Path) -> None:
    found = findings(tmp_path, GLOWPLUG_STORE="postgresql://user:hunter2@db/jobs")["database"]
    assert "hunter2" not in found.detail


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
def test_each_check_can_be_asked_alone(tmp_path: Path, check: object) -> None:
    assert callable(check)
    settings = Settings.load({"GLOWPLUG_DATA": str(tmp_path), "GLOWPLUG_CACHE": str(tmp_path), "GLOWPLUG_PORT": "0"})
    assert all(isinstance(one, Finding) for one in check(settings))
