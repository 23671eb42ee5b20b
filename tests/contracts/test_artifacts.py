"""Every artifact store keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.servers.artifact_routes import TOKEN, serving
from tests.servers.seaweed import BUCKET, S3Server, s3

from glowplug.artifact import ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.artifacts.http import HttpArtifacts
from glowplug.artifacts.objects import ObjectArtifacts
from glowplug.testing.artifacts import ArtifactStoreSuite

__all__ = ["s3"]


class TestDiskArtifacts(ArtifactStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
        async with DiskArtifacts(tmp_path / "artifacts") as store:
            yield store


class TestObjectArtifacts(ArtifactStoreSuite):
    @pytest.fixture
    async def store(self, s3: S3Server) -> AsyncIterator[ArtifactStore]:
        async with ObjectArtifacts(f"s3://{BUCKET}/{uuid4().hex}", s3.options()) as store:
            yield store


class TestHttpArtifacts(ArtifactStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
        async with (
            DiskArtifacts(tmp_path / "artifacts") as disk,
            serving(disk) as url,
            HttpArtifacts(url, TOKEN) as store,
        ):
            yield store
