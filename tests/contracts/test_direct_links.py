"""Bytes past the gateway: links of a real object store that checks signatures, for downloads and parts of uploads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from tests.servers.seaweed import BUCKET, S3Server, s3
from tests.unit.gateway.house import House, policy
from tests.unit.gateway.served import served

from glowplug.artifacts.objects import PART_BYTES, ObjectArtifacts
from glowplug.client import AsyncClient
from glowplug.client import files as client_files
from glowplug.client.parted_upload import PartedUpload
from glowplug.client.views import UploadPartView
from glowplug.errors import InvalidInput
from glowplug.gateway.policy import Limits
from glowplug.testing.artifacts import keys_below, pattern

__all__ = ["s3"]

TOKEN = "api-secret"
DATA = pattern(PART_BYTES + 3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
LIMITS = Limits(artifact_bytes=64 << 20, part_bytes=4 << 20)


@dataclass
class Site:
    """A gateway over an object store, and its client."""

    home: House
    client: AsyncClient
    store: ObjectArtifacts


@asynccontextmanager
async def site(s3: S3Server, folder: Path, **more: Any) -> AsyncIterator[Site]:
    store = ObjectArtifacts(f"s3://{BUCKET}/{uuid4().hex}", s3.options())
    access = {"api_token": TOKEN, "link_secret": "links"}
    chosen = policy(access=access, limits=LIMITS, **{"direct_links": True, **more})
    async with served(folder, chosen=chosen, artifacts=store) as home:
        home.client.headers["authorization"] = f"Bearer {TOKEN}"
        async with AsyncClient(str(home.client.base_url), token=TOKEN) as client:
            yield Site(home, client, store)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client_files, "PARTED_FROM_BYTES", 1 << 20)
    (tmp_path / "large.bin").write_bytes(DATA)
    return tmp_path / "large.bin"


class TestDownloads:
    async def test_a_download_goes_to_the_store_and_takes_no_token_there(self, s3: S3Server, tmp_path: Path) -> None:
        async with site(s3, tmp_path) as here:
            made = (await here.home.client.put("/v1/artifacts/cat.png", content=b"bytes")).json()
            answer = await here.home.client.get(urlsplit(made["url"]).path)
            assert answer.status_code == 307
            assert answer.headers["location"].startswith(s3.endpoint)
            async with httpx.AsyncClient() as nobody:
                assert (await nobody.get(answer.headers["location"])).content == b"bytes"
            (tmp_path / "small.bin").write_bytes(b"small")
            view = await here.client.upload(tmp_path / "small.bin")
            assert (await here.client.download(view, tmp_path / "back")).read_bytes() == b"small"

    async def test_a_signed_link_of_ours_leads_there_too(self, s3: S3Server, tmp_path: Path) -> None:
        async with site(s3, tmp_path) as here:
            made = (await here.home.client.put("/v1/artifacts/cat.png", content=b"bytes")).json()
            async with httpx.AsyncClient(base_url=here.home.client.base_url, follow_redirects=True) as nobody:
                assert (await nobody.get(made["url"])).content == b"bytes"

    async def test_without_direct_links_the_gateway_sends_the_bytes_itself(self, s3: S3Server, tmp_path: Path) -> None:
        async with site(s3, tmp_path, direct_links=False) as here:
            made = (await here.home.client.put("/v1/artifacts/cat.png", content=b"bytes")).json()
            answer = await here.home.client.get(made["url"])
            assert (answer.status_code, answer.content) == (200, b"bytes")


async def begun(here: Site) -> dict[str, Any]:
    """Announce the large file."""
    wish = {"name": "large.bin", "size_bytes": len(DATA), "sha256": SHA256}
    answer = await here.home.client.post("/v1/uploads", json=wish)
    assert answer.status_code == 201
    return dict(answer.json())


class TestUploads:
    async def test_parts_go_to_the_store_and_the_gateway_checks_the_whole(
        self, s3: S3Server, tmp_path: Path, large: Path
    ) -> None:
        async with site(s3, tmp_path) as here:
            view = await here.client.upload(large)
            assert (view.sha256, view.size_bytes) == (SHA256, len(DATA))
            back = await here.client.download(view, tmp_path / "back.bin")
            assert hashlib.sha256(back.read_bytes()).hexdigest() == SHA256
            assert [key.rpartition("/")[2] for key in await keys_below(here.store, "uploads")] == ["upload.json"]
        assert s3.open_uploads() == []

    async def test_without_direct_links_they_go_through_the_gateway(
        self, s3: S3Server, tmp_path: Path, large: Path
    ) -> None:
        async with site(s3, tmp_path, direct_links=False) as here:
            assert (await here.client.upload(large)).sha256 == SHA256

    async def test_only_what_is_missing_is_sent_again(
        self, s3: S3Server, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[int] = []
        real = PartedUpload._send_part

        async def counted(self: PartedUpload, part: UploadPartView, place: str) -> None:
            sent.append(part.number)
            assert place.startswith(s3.endpoint)
            await real(self, part, place)

        monkeypatch.setattr(PartedUpload, "_send_part", counted)
        async with site(s3, tmp_path) as here:
            first = (await begun(here))["parts"][0]
            async with httpx.AsyncClient() as nobody:
                assert (await nobody.put(first["url"], content=DATA[: first["size_bytes"]])).status_code == 200
            assert (await here.client.upload(large)).sha256 == SHA256
        assert sorted(sent) == [2, 3]

    async def test_a_link_of_a_part_is_for_that_part_alone(self, s3: S3Server, tmp_path: Path) -> None:
        async with site(s3, tmp_path) as here:
            upload = await begun(here)
            url = upload["parts"][0]["url"]
            async with httpx.AsyncClient() as nobody:
                assert (await nobody.put(url.replace("part-00001", "part-00002"), content=b"x")).status_code == 403
                assert (await nobody.get(url)).status_code == 403
                assert (await nobody.put(url.replace("/uploads/", "/inputs/"), content=b"x")).status_code == 403

    async def test_other_bytes_than_announced_never_become_an_artifact(self, s3: S3Server, tmp_path: Path) -> None:
        async with site(s3, tmp_path) as here:
            upload = await begun(here)
            async with httpx.AsyncClient() as nobody:
                for part in upload["parts"]:
                    await nobody.put(part["url"], content=bytes(part["size_bytes"]))
            answer = await here.home.client.post(upload["urls"]["complete"], timeout=30)
            assert (answer.status_code, answer.json()["code"]) == (422, InvalidInput.code)
            assert await keys_below(here.store) == []
        assert s3.open_uploads() == []
