"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.unit.gateway.house import House, Told, house

from glowplug.events import set_sink


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """Yield a running gateway on a clock that stands still."""
    async with house(tmp_path) as made:
        yield made


@pytest.fixture
def told() -> Iterator[Told]:
    """Yield what is emitted while the test runs."""
    heard = Told()
    previous = set_sink(heard)
    yield heard
    set_sink(previous)
