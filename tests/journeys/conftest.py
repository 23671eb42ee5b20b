"""Fixtures of the journeys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journeys.system import System, system


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[System]:
    """Yield a Glowplug of this test's own, not started yet."""
    with system(tmp_path) as made:
        yield made
