"""A lock is had at once, after its holder, or not at all in the given time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.readiness.file_lock import lock_within


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[int]]:
    descriptors = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_lock_that_nobody_holds_is_had_even_without_time(opened: list[int]) -> None:
    lock_within(0, opened[0])


def test_one_that_is_held_on_is_given_up(opened: list[int]) -> None:
    lock_within(0, opened[0])
    with pytest.raises(TimeoutError, match="does not go on"):
        lock_within(0.01, opened[1])


def test_one_that_is_let_go_is_had_after_it(opened: list[int], tmp_path: Path) -> None:
    holder = os.open(tmp_path / "lock", os.O_RDWR)
    lock_within(0, holder)
    threading.Timer(0.02, os.close, (holder,)).start()
    lock_within(20, opened[0])
