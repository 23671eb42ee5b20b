"""Room on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.unit.gateway.house import Told

from glowplug.gateway.room import Room, free_bytes


def looks(*free: int) -> tuple[Room, list[bool]]:
    """Return a room of 100 bytes at least, which sees these amounts one after the other, and what was told."""
    seen: Iterator[int] = iter(free)
    room, told = Room(Path("/data"), 100, lambda folder: next(seen)), list[bool]()
    room.on_change = lambda: told.append(room.enough())
    return room, told


def test_there_is_room_until_somebody_has_looked() -> None:
    assert Room(Path("/nowhere"), 1 << 60).enough()


def test_the_mark_itself_is_enough() -> None:
    room, told = looks(100)
    room.look()
    assert (room.enough(), told) == (True, [])


def test_only_changes_are_told() -> None:
    room, told = looks(99, 50, 0, 100, 200, 10)
    for _ in range(6):
        room.look()
    assert told == [False, True, False]


def test_too_little_room_is_an_event_and_more_of_it_again_is_none(told: Told) -> None:
    room, _ = looks(99, 100)
    room.look()
    room.look()
    (low,) = told.of("disk.low")
    assert (low["free_bytes"], low["limit_bytes"], low["path"]) == (99, 100, "/data")


def test_without_a_folder_there_is_always_room() -> None:
    room = Room(None, 1 << 60, lambda folder: 0)
    room.look()
    assert room.enough()


def test_a_real_disk_has_some_room_left(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
