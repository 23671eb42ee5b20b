"""Artifacts through the gateway: uploads, downloads, who sees what, and what workers may write."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import WORKER_TOKEN, House, house, policy
from tests.unit.gateway.served import served

from glowplug.artifact import Artifact
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.artifacts.http import HttpArtifacts
from glowplug.errors import Corrupt, Forbidden, LeaseLost, NotFound, Unauthorized
from glowplug.gateway.policy import Limits
from glowplug.job import Checkpoint, Note, Outcome, OutcomeKind, Progress

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()
AS_WORKER = {"authorization": f"Bearer {WORKER_TOKEN}"}


async def chunks(data: bytes = DATA) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def upload(home: House, name: str = "cat.png", data: bytes = DATA, **headers: str) -> dict[str, Any]:
    response = await home.client.put(f"/v1/artifacts/{name}", content=data, headers=headers)
    assert response.status_code == 201, response.text
    return dict(response.json())


class TestUploads:
    async def test_an_upload_answers_with_the_reference_to_put_into_a_job(self, home: House) -> None:
        made = await upload(home)
        assert made["uri"] == f"artifact:{made['key']}"
        assert made["key"].startswith("inputs/")
        assert (made["name"], made["size_bytes"], made["sha256"], made["media_type"]) == (
            "cat.png",
            len(DATA),
            DIGEST,
            "image/png",
        )
        assert (await home.client.get(made["url"])).content == DATA
        await home.ready_worker()
        await home.submit(made["uri"])

    async def test_post_does_the_same(self, home: House) -> None:
        response = await home.client.post("/v1/artifacts/cat.png", content=DATA)
        assert (response.status_code, response.json()["sha256"]) == (201, DIGEST)

    async def test_the_same_name_twice_is_two_artifacts(self, home: House) -> None:
        first, second = await upload(home), await upload(home, data=b"other")
        assert first["key"] != second["key"]
        assert (await home.client.get(first["url"])).content == DATA

    async def test_the_stated_media_type_is_kept_with_the_answer(self, home: House) -> None:
        assert (await upload(home, **{"content-type": "image/webp"}))["media_type"] == "image/webp"

    async def test_an_empty_file_is_a_file(self, home: House) -> None:
        made = await upload(home, data=b"")
        response = await home.client.get(made["url"])
        assert (made["size_bytes"], response.status_code, response.content) == (0, 200, b"")

    @pytest.mark.parametrize(
        "name", ["..%2F..%2Fpasswd", "a%2Fb", ".hidden", "x" * 200, "a%00b", "%2e%2e", "a%5Cb", "é.png"]
    )
    async def test_a_name_that_is_no_plain_file_name_is_refused(self, home: House, name: str) -> None:
        response = await home.client.put(f"/v1/artifacts/{name}", content=DATA)
        assert response.status_code in (404, 405, 422)
        assert [stat async for stat in home.artifacts.walk()] == []

    async def test_a_file_beyond_the_limit_is_refused_and_nothing_is_kept(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=Limits(artifact_bytes=5000))) as home:
            for content in (DATA, chunks()):
                response = await home.client.put("/v1/artifacts/cat.png", content=content)
                assert (response.status_code, response.json()["limit_bytes"]) == (413, 5000)
            assert [stat async for stat in home.artifacts.walk()] == []

    async def test_nothing_is_taken_in_while_the_disk_is_full(self, tmp_path: Path) -> None:
        chosen = policy(data_folder=tmp_path, min_free_bytes=100)
        async with house(tmp_path, chosen=chosen, free_bytes=lambda folder: 10) as home:
            response = await home.client.put("/v1/artifacts/cat.png", content=DATA)
            assert (response.status_code, response.json()["code"]) == (507, "disk_full")

    async def test_an_upload_can_be_deleted(self, home: House) -> None:
        made = await upload(home)
        assert (await home.client.delete(made["url"])).status_code == 204
        assert (await home.client.get(made["url"])).status_code == 404
        assert (await home.client.delete(made["url"])).status_code == 404

    async def test_an_upload_whose_client_hangs_up_leaves_nothing(self, tmp_path: Path) -> None:
        async with asyncio.timeout(60), served(tmp_path) as home:
            port = home.client.base_url.port
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PUT /v1/artifacts/cat.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.sleep(0.1)
            assert [stat async for stat in home.artifacts.walk()] == []


class TestDownloads:
    async def test_the_headers_keep_a_browser_from_running_it(self, home: House) -> None:
        made = await upload(home, "page.html", b"<script>alert(1)</script>")
        response = await home.client.get(made["url"])
        assert response.headers["content-disposition"] == 'attachment; filename="page.html"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]

    @pytest.mark.parametrize(
        ("name", "disposition"), [("a.png", "inline"), ("a.svg", "attachment"), ("a.bin", "attachment")]
    )
    async def test_only_harmless_formats_are_shown_in_place(self, home: House, name: str, disposition: str) -> None:
        made = await upload(home, name)
        response = await home.client.get(made["url"])
        assert response.headers["content-disposition"].startswith(disposition)

    async def test_a_range_is_served_as_one(self, home: House) -> None:
        made = await upload(home)
        response = await home.client.get(made["url"], headers={"range": "bytes=100-199"})
        assert (response.status_code, response.content) == (206, DATA[100:200])
        assert response.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
        assert response.headers["content-length"] == "100"

    async def test_a_range_behind_the_end_is_told_the_length(self, home: House) -> None:
        made = await upload(home)
        response = await home.client.get(made["url"], headers={"range": "bytes=99999-"})
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{len(DATA)}")

    async def test_what_the_client_has_already_is_not_sent_again(self, home: House) -> None:
        made = await upload(home)
        tag = (await home.client.get(made["url"])).headers["etag"]
        response = await home.client.get(made["url"], headers={"if-none-match": tag})
        assert (response.status_code, response.content) == (304, b"")
        assert (await home.client.get(made["url"], headers={"if-none-match": '"other"'})).status_code == 200

    async def test_head_tells_the_same_without_the_bytes(self, home: House) -> None:
        made = await upload(home)
        full, head = await home.client.get(made["url"]), await home.client.head(made["url"])
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(DATA))
        assert head.headers["etag"] == full.headers["etag"]

    @pytest.mark.parametrize(
        "key",
        [
            "nope",
            "inputs/nope/x",
            "jobs/nope/1/x",
            "jobs/nope",
            "tokens/worker",
            "%2e%2e/glowplug.db",
            "..%2Fx",
            "calls/x",
        ],
    )
    async def test_what_is_not_there_is_not_found_or_refused(self, home: House, key: str) -> None:
        assert (await home.client.get(f"/v1/artifacts/{key}")).status_code in (404, 422)

    async def test_results_of_direct_calls_can_be_fetched(self, home: House) -> None:
        await home.artifacts.put("calls/abc/a.png", chunks())
        assert (await home.client.get("/v1/artifacts/calls/abc/a.png")).content == DATA

    async def test_a_store_that_signs_links_is_used_when_the_operator_wants_it(self, tmp_path: Path) -> None:
        class Signing(DiskArtifacts):
            async def presign(self, key: str, method: str, expires: timedelta) -> str | None:
                return f"https://bucket.example/{key}?signed={method}"

        async with house(tmp_path, chosen=policy(direct_links=True), artifacts=Signing(tmp_path / "a")) as home:
            made = await upload(home)
            response = await home.client.get(made["url"])
            assert (response.status_code, response.headers["location"]) == (
                307,
                f"https://bucket.example/{made['key']}?signed=GET",
            )


class TestJobsArtifacts:
    async def running(self, home: House) -> tuple[Any, Any, str]:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        return worker, grant, f"jobs/{job['id']}/{grant.hold.token}"

    async def test_they_appear_with_the_finish_and_not_before(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        artifact = await home.artifacts.put(f"{prefix}/out.png", chunks(), media_type="image/png")
        assert (await home.client.get(f"/v1/artifacts/{artifact.key}")).status_code == 404
        await worker.finish(grant, artifact.uri, (artifact,))
        job = await home.job(grant.hold.job_id)
        assert job["artifacts"] == [
            {
                "uri": artifact.uri,
                "key": artifact.key,
                "name": "out.png",
                "size_bytes": len(DATA),
                "sha256": DIGEST,
                "media_type": "image/png",
                "url": f"/v1/artifacts/{artifact.key}",
            }
        ]
        response = await home.client.get(job["artifacts"][0]["url"])
        assert (response.content, response.headers["etag"]) == (DATA, f'"{DIGEST}"')

    async def test_those_of_a_lost_attempt_are_nowhere(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        lost = await home.artifacts.put(f"{prefix}/out.png", chunks())
        await worker.end(grant.hold, Outcome(OutcomeKind.INTERRUPTED))
        again = await worker.one()
        mine = await home.artifacts.put(f"jobs/{again.hold.job_id}/2/out.png", chunks(b"new"))
        await worker.finish(again, None, (mine,))
        assert (await home.client.get(f"/v1/artifacts/{lost.key}")).status_code == 404
        assert (await home.client.get(f"/v1/artifacts/{mine.key}")).content == b"new"

    async def test_previews_are_shown_while_it_runs_also_when_the_next_one_is_there(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        for number in range(3):
            preview = await home.artifacts.put(f"{prefix}/preview-{number}.png", chunks(str(number).encode()))
            note = Note("progress", {}, progress=Progress(number, 3, preview=preview.uri))
            await worker.note(grant, note)
        for number in range(3):
            response = await home.client.get(f"/v1/artifacts/{prefix}/preview-{number}.png")
            assert response.content == str(number).encode()

    async def test_previews_of_a_lost_attempt_are_not(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        preview = await home.artifacts.put(f"{prefix}/preview.png", chunks())
        await worker.note(grant, Note("progress", {}, progress=Progress(1, 3, preview=preview.uri)))
        await worker.end(grant.hold, Outcome(OutcomeKind.INTERRUPTED))
        await worker.one()
        assert (await home.client.get(f"/v1/artifacts/{preview.key}")).status_code == 404

    async def test_the_checkpoint_can_be_fetched_also_by_the_next_attempt(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        stored = await home.artifacts.put(f"{prefix}/checkpoints/1", chunks())
        await worker.note(grant, Note("checkpoint", {}, checkpoint=Checkpoint(1, stored)))
        await worker.end(grant.hold, Outcome(OutcomeKind.INTERRUPTED))
        again = await worker.one()
        assert again.checkpoint == Checkpoint(1, stored)
        assert (await home.client.get(f"/v1/artifacts/{stored.key}")).content == DATA

    async def test_they_go_with_their_job_only(self, home: House) -> None:
        worker, grant, prefix = await self.running(home)
        artifact = await home.artifacts.put(f"{prefix}/out.png", chunks())
        await worker.finish(grant, None, (artifact,))
        assert (await home.client.delete(f"/v1/artifacts/{artifact.key}")).status_code == 409


class TestWorkers:
    @pytest.fixture
    async def far(self, tmp_path: Path) -> AsyncIterator[tuple[House, HttpArtifacts]]:
        async with asyncio.timeout(60), served(tmp_path) as home:
            store = HttpArtifacts(str(home.client.base_url), WORKER_TOKEN, attempts=1)
            async with store:
                yield home, store

    async def test_a_worker_writes_and_reads_the_attempt_that_it_runs(self, far: tuple[House, HttpArtifacts]) -> None:
        home, store = far
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.one()
        key = f"jobs/{job['id']}/1/out.png"
        assert await store.put(key, chunks(), media_type="image/png") == Artifact(key, len(DATA), DIGEST, "image/png")
        assert b"".join([piece async for piece in store.read(key)]) == DATA
        assert b"".join([piece async for piece in store.read(key, start=5, end=9)]) == DATA[5:9]
        assert (await store.stat(key)).size_bytes == len(DATA)
        assert [stat.key async for stat in store.walk(f"jobs/{job['id']}")] == [key]
        await store.delete(key)
        with pytest.raises(NotFound):
            await store.stat(key)

    async def test_a_large_one_streams_through(self, far: tuple[House, HttpArtifacts]) -> None:
        _, store = far
        large = DATA * 400
        stored = await store.put("calls/c1/large.bin", chunks(large))
        assert stored.sha256 == hashlib.sha256(large).hexdigest()
        assert b"".join([piece async for piece in store.read("calls/c1/large.bin")]) == large

    async def test_a_worker_reads_what_its_job_was_given(self, far: tuple[House, HttpArtifacts]) -> None:
        home, store = far
        made = await upload(home)
        assert b"".join([piece async for piece in store.read(made["key"])]) == DATA

    async def test_a_worker_that_lost_its_lease_writes_nothing(self, far: tuple[House, HttpArtifacts]) -> None:
        home, store = far
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        await worker.end(grant.hold, Outcome(OutcomeKind.INTERRUPTED))
        for _ in range(2):
            with pytest.raises(LeaseLost):
                await store.put(f"jobs/{job['id']}/1/out.png", chunks())
            await worker.claim()
        assert [stat async for stat in home.artifacts.walk()] == []

    @pytest.mark.parametrize("key", ["inputs/x/y", "weights/m/w", "jobs/x", "jobs/x/1", "anything"])
    async def test_a_worker_writes_nowhere_else(self, far: tuple[House, HttpArtifacts], key: str) -> None:
        with pytest.raises(Forbidden):
            await far[1].put(key, chunks())

    async def test_a_job_that_does_not_exist_has_no_artifacts(self, far: tuple[House, HttpArtifacts]) -> None:
        with pytest.raises(NotFound):
            await far[1].put("jobs/nope/1/x", chunks())

    async def test_bytes_that_are_not_the_announced_ones_are_not_kept(self, home: House) -> None:
        headers = AS_WORKER | {"x-content-sha256": "0" * 64}
        response = await home.client.put("/api/internal/artifacts/calls/c1/x", content=DATA, headers=headers)
        assert (response.status_code, response.json()["code"]) == (Corrupt.status, "corrupt")
        assert [stat async for stat in home.artifacts.walk()] == []

    async def test_without_the_token_there_is_nothing(self, far: tuple[House, HttpArtifacts]) -> None:
        async with HttpArtifacts(str(far[0].client.base_url), "guess", attempts=1) as stranger:
            assert isinstance(stranger, HttpArtifacts)
            with pytest.raises(Unauthorized):
                await stranger.put("calls/c1/x", chunks())

    @pytest.mark.parametrize("query", ["prefix=../x", "prefix=../x&strays=true", "strays=true"])
    async def test_a_listing_of_a_bad_prefix_is_refused(self, home: House, query: str) -> None:
        response = await home.client.get(f"/api/internal/artifacts?{query}", headers=AS_WORKER)
        assert response.status_code == 422

    async def test_what_can_be_no_artifact_is_named_to_workers(
        self, far: tuple[House, HttpArtifacts], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home, store = far
        await home.artifacts.put("sets/cats/a.png", chunks())

        async def strays(prefix: str) -> AsyncIterator[str]:
            yield f"{prefix}/é\n.png"

        assert [name async for name in store.strays("sets/cats")] == []
        monkeypatch.setattr(home.artifacts, "strays", strays)
        assert [name async for name in store.strays("sets/cats")] == ["sets/cats/é\n.png"]
