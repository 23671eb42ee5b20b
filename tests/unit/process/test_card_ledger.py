"""The pages of the cards: written by one at a time, and gone with their owners."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.errors import SettingsError
from glowplug.process import card_ledger
from glowplug.process.card_ledger import Ledger
from glowplug.process.cards import Stand, Tenant, Wish

HOLDER = """
import sys
from pathlib import Path
from glowplug.process.card_ledger import Ledger
from glowplug.process.cards import Stand, Tenant

ledger = Ledger(Path(sys.argv[1]))
ledger.write(lambda others: Tenant(ledger.page_id, "holder", Stand.AWAKE, "GPU-a", 7))
print("written", flush=True)
sys.stdin.read()
"""


def said(ledger: Ledger, held: int = 1) -> list[Tenant]:
    """Write a page, and return those of the others."""
    return ledger.write(lambda others: Tenant(ledger.page_id, "me", Stand.AWAKE, "GPU-a", held))[1]


def test_a_page_is_read_by_the_others_as_it_was_written(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    page = Tenant(
        one.page_id, "images", Stand.ASLEEP, "GPU-a", 5, 1.5, 2.5, 3.5, True, False, Wish(9, {"a": 1}, True, 4.5)
    )
    one.write(lambda others: page)
    assert said(other) == [page]
    one.write(lambda others: replace(page, wish=None, name="x"))
    assert said(other)[0].name == "x"
    one.close()
    assert said(other) == []
    other.close()


def test_a_page_that_stays_as_it_is_wakes_nobody(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    said(other)
    said(one)
    assert other.changed_at() != other.seen_at
    said(other)
    said(one)
    assert other.changed_at() == other.seen_at
    said(one, held=2)
    assert other.changed_at() != other.seen_at
    one.close()
    other.close()


def test_whoever_is_killed_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "written\n"
        mine = Ledger(tmp_path)
        assert [one.held_bytes for one in said(mine)] == [7]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert said(mine) == []
        assert [path.stem for path in tmp_path.glob("*.page")] == [mine.page_id]
        mine.close()


def test_what_a_load_took_is_remembered_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_ledger, "KEPT_SIZES", 2)
    ledger = Ledger(tmp_path)
    assert ledger.remembered_bytes("a") is None
    for key, held in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        ledger.remember_bytes(key, held)
    assert [ledger.remembered_bytes(key) for key in "abc"] == [3, None, 4]
    (tmp_path / "sizes.json").write_text("{")
    assert ledger.remembered_bytes("a") is None
    ledger.remember_bytes("a", 5)
    assert ledger.remembered_bytes("a") == 5


def test_a_process_that_stands_still_with_the_lock_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_ledger, "LOCK_SECONDS", 0.01)
    ledger = Ledger(tmp_path)
    said(ledger)
    descriptor = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        said(ledger)
    os.close(descriptor)
    assert said(ledger) == []
    ledger.close()


def test_a_folder_that_cannot_be_used_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file" / "cards")
    with pytest.raises(SettingsError, match="point GLOWPLUG_DATA at another folder"):
        said(ledger)
    assert ledger.changed_at() == 0
    ledger.remember_bytes("a", 1)
    ledger.close()


def test_a_folder_is_checked_without_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_ledger, "LOCK_SECONDS", 0.01)
    cards = tmp_path / "cards"
    Ledger(cards).check()
    assert list(cards.glob("*.page")) == []
    descriptor = os.open(cards / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="locked by a process that does not go on; find it with lsof"):
        Ledger(cards).check()
    os.close(descriptor)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written to"):
        Ledger(tmp_path / "file").check()
