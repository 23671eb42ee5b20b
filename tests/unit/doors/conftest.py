"""Fixtures of the doors' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.gateway.house import Told

from glowplug.events import set_sink


@pytest.fixture
def told() -> Iterator[Told]:
    """Yield what is emitted while the test runs."""
    heard = Told()
    previous = set_sink(heard)
    yield heard
    set_sink(previous)
