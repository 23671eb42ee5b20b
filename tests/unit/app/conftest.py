"""A `Readiness` that keeps its files in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.app import Readiness


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache and the data folder, which are the machine's otherwise, below a temporary one."""
    monkeypatch.setenv("GLOWPLUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOWPLUG_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def ready() -> Readiness:
    """Return a readiness without components."""
    return Readiness()
