"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import Play, playing


@pytest.fixture
def glowplug(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return the command in a folder of its own, with no gateway to ask."""
    return Command(tmp_path, capsys, monkeypatch)


@pytest.fixture
def play(tmp_path: Path, glowplug: Command) -> Iterator[Play]:
    """Yield a served gateway whose model is ready, and point the command at it."""
    with playing(tmp_path / "gateway") as made:
        made.ready()
        glowplug.set("GLOWPLUG_URL", made.url)
        yield made
