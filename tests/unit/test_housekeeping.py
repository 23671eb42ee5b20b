"""Making room by hand: what is found, what goes, and what stays whatever one asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.errors import SettingsError
from glowplug.housekeeping import Rubbish, find_rubbish, remove
from glowplug.process.cache import CacheEntry
from glowplug.settings import Settings


class Place:
    """A data folder and a cache folder with something of everything in them."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings.load({"GLOWPLUG_DATA": str(root / "data"), "GLOWPLUG_CACHE": str(root / "cache")})
        self.folder = DataFolder(self.settings.data)
        self.folder.prepare()
        (self.folder.scratch / "worker-1").mkdir()
        (self.folder.scratch / "worker-1" / "rest.bin").write_bytes(b"x" * 100)
        self.folder.database.write_bytes(b"jobs")
        (self.folder.artifacts / "picture").write_bytes(b"p" * 10)
        self.history = self.settings.cache / "history" / "loads.json"
        self.history.parent.mkdir(parents=True)
        self.history.write_text("{}")
        self.net = self.weights("s3://models/net")

    def weights(self, url: str) -> CacheEntry:
        entry = CacheEntry.of(self.settings.cache / "weights", url)
        (entry.folder / "files").mkdir(parents=True)
        (entry.folder / "files" / "net.bin").write_bytes(b"w" * 5000)
        assert entry.try_lock(alone=True)
        entry.unlock()
        return entry

    def clean(self, *, cache: bool = False, everything: bool = False) -> int:
        return remove(self.settings, find_rubbish(self.settings, cache=cache, everything=everything))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def kinds(found: list[Rubbish]) -> set[str]:
    return {one.what for one in found}


def test_leftovers_of_runs_are_found_with_their_size(place: Place) -> None:
    assert find_rubbish(place.settings) == [Rubbish(place.folder.scratch / "worker-1", 100, "scratch")]


def test_looking_changes_nothing(place: Place) -> None:
    before = sorted(place.settings.data.parent.rglob("*"))
    find_rubbish(place.settings, cache=True, everything=True)
    assert sorted(place.settings.data.parent.rglob("*")) == before


def test_a_place_that_was_never_used_has_no_rubbish(tmp_path: Path) -> None:
    settings = Settings.load({"GLOWPLUG_DATA": str(tmp_path / "no"), "GLOWPLUG_CACHE": str(tmp_path / "none")})
    assert find_rubbish(settings, cache=True, everything=True) == []
    assert remove(settings, []) == 0
    assert not (tmp_path / "no").exists()


def test_leftovers_go_and_everything_else_stays(place: Place) -> None:
    assert place.clean() == 100
    assert list(place.folder.scratch.iterdir()) == []
    assert place.folder.database.exists()
    assert place.net.folder.exists()
    assert place.history.exists()


def test_the_cache_goes_when_asked_for(place: Place) -> None:
    assert kinds(find_rubbish(place.settings, cache=True)) == {"scratch", "weights", "cache"}
    assert place.clean(cache=True) > 5000
    assert not place.net.folder.exists()
    assert not place.history.exists()
    assert place.folder.database.exists()


@pytest.mark.parametrize("alone", [True, False], ids=["fetched", "used"])
def test_weights_that_a_process_has_stay(place: Place, alone: bool) -> None:
    other = place.weights("s3://models/other")
    assert place.net.try_lock(alone=alone)
    try:
        place.clean(cache=True, everything=True)
        assert place.net.folder.exists()
        assert not other.folder.exists()
    finally:
        place.net.unlock()
    place.clean(cache=True)
    assert not place.net.folder.exists()


def test_only_what_really_went_is_counted(place: Place) -> None:
    assert place.net.try_lock(alone=False)
    try:
        assert place.clean(cache=True) == 100 + len("{}")
    finally:
        place.net.unlock()


def test_everything_means_jobs_and_results_too(place: Place) -> None:
    place.clean(everything=True)
    assert not place.folder.database.exists()
    assert not (place.folder.artifacts / "picture").exists()


def test_a_running_gateway_is_not_disturbed(place: Place) -> None:
    with GatewayLock(place.folder), pytest.raises(SettingsError, match="already runs"):
        place.clean(everything=True)
    assert place.folder.database.exists()
    assert place.net.folder.exists()


def test_what_is_gone_meanwhile_is_no_error_and_not_counted(place: Place) -> None:
    gone = Rubbish(place.folder.scratch / "gone", 50, "scratch")
    assert remove(place.settings, [gone]) == 0


def test_a_link_goes_and_what_it_points_to_stays(place: Place, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo").write_text("x")
    (place.folder.scratch / "link").symlink_to(precious)
    place.clean(cache=True, everything=True)
    assert (precious / "photo").exists()
    assert not (place.folder.scratch / "link").is_symlink()


def test_the_folder_can_be_used_again_afterwards(place: Place) -> None:
    place.clean(cache=True, everything=True)
    place.folder.prepare()
    assert place.folder.read_worker_token()
