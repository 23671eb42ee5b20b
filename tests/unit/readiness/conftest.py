"""What the tests of boards share: a clock wound by hand, and a list of what was heard."""

from __future__ import annotations

import pytest

from glowplug.clock import ManualClock
from glowplug.readiness import Board, Transition


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def heard() -> list[Transition]:
    return []


@pytest.fixture
def board(clock: ManualClock, heard: list[Transition]) -> Board:
    return Board(clock, on_transition=heard.append)
