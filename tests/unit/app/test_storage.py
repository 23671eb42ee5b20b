"""Where an application keeps things: as the options say, as the environment says, or where the platform does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.app.options import ReadinessOptions
from glowplug.app.storage import Storage
from glowplug.data_folder import default_folder


def test_what_is_said_goes_before_the_environment(tmp_path: Path, folders: Path) -> None:
    said = Storage(ReadinessOptions(cache=tmp_path / "a", data=str(tmp_path / "b")))
    assert said.cache == tmp_path / "a"
    assert said.scratch.parent == tmp_path / "b" / "scratch"
    assert Storage(ReadinessOptions()).cache == folders / "cache"


def test_without_a_word_it_is_the_platforms_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOWPLUG_CACHE")
    assert Storage(ReadinessOptions()).cache == default_folder("cache")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOWPLUG_CACHE", "~/somewhere")
    assert Storage(ReadinessOptions()).cache == Path.home() / "somewhere"


def test_two_applications_of_one_process_have_two_folders() -> None:
    one, other = Storage(ReadinessOptions()), Storage(ReadinessOptions())
    assert one.scratch != other.scratch


def test_folders_of_processes_that_are_gone_are_removed(folders: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    root = folders / "data" / "scratch"
    for name in (f"app-{gone.pid}-1", f"app-{os.getpid()}-1", "app-1-1", "app-x-1", "worker-1"):
        (root / name).mkdir(parents=True)
    storage = Storage(ReadinessOptions())
    assert storage.scratch.parent == root
    assert {path.name for path in root.iterdir()} == {f"app-{os.getpid()}-1", "app-1-1", "app-x-1", "worker-1"}


def test_closing_removes_its_own_folder_alone() -> None:
    one, other = Storage(ReadinessOptions()), Storage(ReadinessOptions())
    for storage in (one, other):
        storage.scratch.mkdir(parents=True)
    one.close()
    assert not one.scratch.exists()
    assert other.scratch.exists()


def test_what_was_never_used_is_not_made(folders: Path) -> None:
    Storage(ReadinessOptions()).close()
    assert not (folders / "data").exists()
