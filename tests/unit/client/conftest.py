"""A gateway for the tests of the clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.client.play import Play, playing


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Yield a served gateway whose model is ready."""
    with playing(tmp_path) as made:
        made.ready()
        yield made
