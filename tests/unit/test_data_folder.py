"""The data folder: private, one gateway at a time, and how others find that one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from glowplug.data_folder import DataFolder, GatewayLock, default_folder, find_gateway
from glowplug.errors import SettingsError

HOLDER = """
import sys, pathlib
from glowplug.data_folder import DataFolder, GatewayLock
lock = GatewayLock(DataFolder(pathlib.Path(sys.argv[1])))
lock.__enter__()
lock.announce("http://127.0.0.1:4321")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_for_its_owner_alone(folder: DataFolder) -> None:
    folder.read_worker_token()
    folder.read_link_secret()
    assert mode(folder.root) == 0o700
    assert mode(folder.worker_token.parent) == 0o700
    assert mode(folder.worker_token) == mode(folder.link_secret) == 0o600


def test_the_secret_of_links_is_made_once_and_is_another_than_the_token(folder: DataFolder) -> None:
    secret = folder.read_link_secret()
    assert len(secret) >= 40
    assert folder.read_link_secret() == secret != folder.read_worker_token()
    folder.link_secret.write_text("")
    with pytest.raises(SettingsError, match="delete it"):
        folder.read_link_secret()


def test_preparing_again_changes_nothing(folder: DataFolder) -> None:
    token = folder.read_worker_token()
    folder.prepare()
    assert folder.read_worker_token() == token
    assert folder.scratch.is_dir()
    assert folder.artifacts.is_dir()


def test_a_folder_that_cannot_be_made_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="GLOWPLUG_DATA"):
        DataFolder(tmp_path / "file" / "data").prepare()


def test_each_folder_has_its_own_token(tmp_path: Path) -> None:
    tokens = set()
    for name in ("one", "two"):
        made = DataFolder(tmp_path / name)
        made.prepare()
        tokens.add(made.read_worker_token())
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 40


def test_many_who_need_the_token_at_once_get_the_same_one(folder: DataFolder) -> None:
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(10)
        found.append(folder.read_worker_token())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in folder.worker_token.parent.iterdir()] == ["worker"]


def test_a_token_that_was_set_replaces_the_one_that_was_made(folder: DataFolder) -> None:
    folder.read_worker_token()
    folder.keep_worker_token("set-from-outside")
    assert folder.read_worker_token() == "set-from-outside"
    assert mode(folder.worker_token) == 0o600


def test_an_empty_token_file_is_an_error_and_not_an_open_door(folder: DataFolder) -> None:
    folder.worker_token.write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        folder.read_worker_token()


def test_a_second_gateway_is_refused_and_told_where_the_first_is(folder: DataFolder) -> None:
    with GatewayLock(folder) as first:
        first.announce("http://127.0.0.1:4321")
        with pytest.raises(SettingsError) as caught, GatewayLock(folder):
            pass
        assert "http://127.0.0.1:4321" in caught.value.message
        assert f"pid {os.getpid()}" in caught.value.message
        assert "GLOWPLUG_DATA" in caught.value.message
        assert find_gateway(folder.root) is not None


def test_a_second_gateway_is_refused_before_the_first_knows_its_port(folder: DataFolder) -> None:
    with GatewayLock(folder), pytest.raises(SettingsError, match=f"pid {os.getpid()}"), GatewayLock(folder):
        pass


def test_the_folder_is_free_again_after_the_gateway(folder: DataFolder) -> None:
    with GatewayLock(folder) as first:
        first.announce("http://127.0.0.1:4321")
    assert find_gateway(folder.root) is None
    with GatewayLock(folder):
        pass


def test_a_gateway_that_was_killed_leaves_no_lock_and_is_not_found(folder: DataFolder) -> None:
    command = [sys.executable, "-c", HOLDER, str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        found = find_gateway(folder.root)
        assert found is not None
        assert found.pid == holder.pid
        with pytest.raises(SettingsError, match=f"pid {holder.pid}"), GatewayLock(folder):
            pass
        holder.kill()
        holder.wait(10)
    assert folder.gateway_file.exists()
    assert find_gateway(folder.root) is None
    with GatewayLock(folder):
        assert not folder.gateway_file.exists()


def test_the_address_is_for_its_owner_alone_and_whole(folder: DataFolder) -> None:
    with GatewayLock(folder) as lock:
        lock.announce("http://127.0.0.1:1")
        lock.announce("http://127.0.0.1:2")
        found = find_gateway(folder.root)
        assert found is not None
        assert found.url == "http://127.0.0.1:2"
        assert mode(folder.gateway_file) == 0o600
        assert sorted(path.name for path in folder.root.iterdir() if path.is_file()) == ["gateway.json", "lock"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"url": "http://x"}', '{"url": "x", "pid": "?", "started_at": ""}']
)
def test_an_address_that_cannot_be_read_is_no_address(folder: DataFolder, text: str) -> None:
    folder.gateway_file.write_text(text)
    assert find_gateway(folder.root) is None


def test_the_process_of_somebody_else_counts_as_alive(folder: DataFolder) -> None:
    said = {"url": "http://127.0.0.1:1", "pid": 1, "started_at": "2026-01-01T00:00:00+00:00"}
    folder.gateway_file.write_text(json.dumps(said))
    assert find_gateway(folder.root) is not None


def test_a_folder_that_is_not_there_has_no_gateway(tmp_path: Path) -> None:
    assert find_gateway(tmp_path / "absent") is None


def test_the_platform_s_folders_are_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder("data") != default_folder("cache")
    assert default_folder("data").name == "glowplug"
