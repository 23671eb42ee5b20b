"""Every artifact store keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from glowplug.artifact import ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.testing.artifacts import ArtifactStoreSuite


class TestDiskArtifacts(ArtifactStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
        store = DiskArtifacts(tmp_path / "artifacts")
        async with store:
            yield store
