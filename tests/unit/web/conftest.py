"""What the tests of the web rooms share: a board with one model, wound by hand."""

from __future__ import annotations

import pytest
from tests.unit.web.callers import Loader

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Component


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def board(clock: ManualClock) -> Board:
    return Board(clock)


@pytest.fixture
def tts(board: Board) -> Component:
    return board.add("tts", model="xtts")


@pytest.fixture
def loader(board: Board) -> Loader:
    return Loader(board)
