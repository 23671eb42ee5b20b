"""Uploads in parts: begun once, gone on with after anything, complete only if every byte is right."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import WORKER_TOKEN, House, house, policy

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import ManualClock
from glowplug.errors import DiskFull
from glowplug.gateway.policy import Limits
from glowplug.gateway.retention import Cleaner
from glowplug.gateway.uploads import MAX_PARTS, Upload
from glowplug.testing.artifacts import keys_below, pattern

PART = 1000
DATA = pattern(3 * PART + 500)
SHA256 = hashlib.sha256(DATA).hexdigest()
LIMITS = Limits(artifact_bytes=100_000, part_bytes=PART)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, chosen=policy(limits=LIMITS)) as made:
        yield made


def wish(**changed: Any) -> dict[str, Any]:
    return {"name": "big.bin", "size_bytes": len(DATA), "sha256": SHA256, **changed}


async def begun(home: House, status: int = 201, **changed: Any) -> dict[str, Any]:
    answer = await home.client.post("/v1/uploads", json=wish(**changed))
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def send(home: House, upload: dict[str, Any], *numbers: int, data: bytes = DATA) -> None:
    for part in upload["parts"]:
        if not numbers or part["number"] in numbers:
            body = data[part["offset"] : part["offset"] + part["size_bytes"]]
            answer = await home.client.put(part["url"], content=body)
            assert answer.status_code == 204, answer.text


def received(upload: dict[str, Any]) -> list[int]:
    return [part["number"] for part in upload["parts"] if part["received"]]


class TestTheWay:
    async def test_a_file_goes_in_parts_and_is_an_artifact_in_the_end(self, home: House) -> None:
        upload = await begun(home)
        sizes = [(part["number"], part["offset"], part["size_bytes"]) for part in upload["parts"]]
        assert sizes == [(1, 0, 1000), (2, 1000, 1000), (3, 2000, 1000), (4, 3000, 500)]
        await send(home, upload)
        answer = await home.client.post(upload["urls"]["complete"])
        made = answer.json()
        assert (answer.status_code, made["sha256"], made["size_bytes"]) == (201, SHA256, len(DATA))
        assert made["key"].startswith("inputs/")
        assert (await home.client.get(made["url"])).content == DATA
        assert await keys_below(home.artifacts, "uploads") == [f"uploads/{upload['id']}/upload.json"]

    async def test_parts_come_in_any_order_and_at_once(self, home: House) -> None:
        upload = await begun(home)
        await asyncio.gather(*[send(home, upload, number) for number in (4, 2, 3, 1)])
        assert (await home.client.post(upload["urls"]["complete"])).json()["sha256"] == SHA256

    async def test_the_same_file_again_goes_on_with_what_has_arrived(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload, 1, 3)
        again = await begun(home, 200)
        assert (again["id"], received(again)) == (upload["id"], [1, 3])
        assert [part["url"] is None for part in again["parts"]] == [True, False, True, False]
        assert received((await home.client.get(upload["urls"]["get"])).json()) == [1, 3]

    async def test_it_outlives_the_gateway(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=LIMITS)) as first:
            upload = await begun(first)
            await send(first, upload, 1, 2)
        async with house(tmp_path, chosen=policy(limits=LIMITS)) as second:
            again = await begun(second, 200)
            assert received(again) == [1, 2]
            await send(second, again, 3, 4)
            assert (await second.client.post(again["urls"]["complete"])).json()["sha256"] == SHA256

    async def test_complete_may_be_asked_again_and_at_once(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload)
        answers = await asyncio.gather(*[home.client.post(upload["urls"]["complete"]) for _ in range(5)])
        answers.append(await home.client.post(upload["urls"]["complete"]))
        assert {answer.json()["key"] for answer in answers} == {answers[0].json()["key"]}
        assert len(await keys_below(home.artifacts, "inputs")) == 1
        done = (await home.client.get(upload["urls"]["get"])).json()
        assert done["artifact"]["key"] == answers[0].json()["key"]
        assert (await home.client.put(f"/v1/uploads/{upload['id']}/1", content=DATA[:PART])).status_code == 409

    async def test_a_file_that_is_complete_can_be_sent_once_more(self, home: House) -> None:
        keys = []
        for _ in range(2):
            upload = await begun(home)
            assert received(upload) == []
            await send(home, upload)
            keys.append((await home.client.post(upload["urls"]["complete"])).json()["key"])
        assert keys[0] != keys[1]

    async def test_an_empty_file_has_no_parts(self, home: House) -> None:
        upload = await begun(home, size_bytes=0, sha256=hashlib.sha256().hexdigest())
        assert upload["parts"] == []
        assert (await home.client.post(upload["urls"]["complete"])).json()["size_bytes"] == 0

    async def test_without_a_hash_each_upload_is_its_own(self, home: House) -> None:
        first, second = await begun(home, sha256=None), await begun(home, sha256=None)
        assert first["id"] != second["id"]
        await send(home, first)
        assert (await home.client.post(first["urls"]["complete"])).json()["sha256"] == SHA256

    async def test_callers_and_names_are_kept_apart(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=LIMITS)) as home:
            ids = {(await begun(home))["id"], (await begun(home, name="other.bin"))["id"]}
            home.client.headers["authorization"] = "Bearer somebody"
            ids.add((await begun(home))["id"])
        assert len(ids) == 3

    async def test_an_upload_can_be_given_up(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload, 1)
        assert (await home.client.delete(upload["urls"]["get"])).status_code == 204
        assert await keys_below(home.artifacts) == []
        assert (await home.client.get(upload["urls"]["get"])).status_code == 404

    async def test_parts_are_no_artifacts_that_callers_see(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload, 1)
        for key in await keys_below(home.artifacts, "uploads"):
            assert (await home.client.get(f"/v1/artifacts/{key}")).status_code == 404


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({"name": "a/b"}, 422),
            ({"name": "../up"}, 422),
            ({"name": ""}, 422),
            ({"name": "x" * 300}, 422),
            ({"size_bytes": -1}, 422),
            ({"size_bytes": "many"}, 422),
            ({"size_bytes": 100_001}, 413),
            ({"size_bytes": 1 << 70}, 413),
            ({"sha256": "abc"}, 422),
            ({"sha256": SHA256.upper()}, 422),
            ({"surprise": 1}, 422),
        ],
    )
    async def test_a_wish_that_cannot_be_is_refused(self, home: House, changed: dict[str, Any], status: int) -> None:
        assert (await home.client.post("/v1/uploads", json=wish(**changed))).status_code == status
        assert await keys_below(home.artifacts) == []

    @pytest.mark.parametrize("upload_id", ["0" * 32, "x", "0" * 31, "..", "A" * 32])
    async def test_an_unknown_upload_is_not_found(self, home: House, upload_id: str) -> None:
        for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/1"), ("POST", "/complete")):
            content = b"" if method == "PUT" else None
            answer = await home.client.request(method, f"/v1/uploads/{upload_id}{path}", content=content)
            assert answer.status_code in (404, 405)

    @pytest.mark.parametrize("number", ["0", "5", "-1", "1000000", "x"])
    async def test_a_part_that_is_none_is_refused(self, home: House, number: str) -> None:
        upload = await begun(home)
        answer = await home.client.put(f"/v1/uploads/{upload['id']}/{number}", content=DATA[:PART])
        assert answer.status_code == 422

    @pytest.mark.parametrize("size", [0, 1, PART - 1, PART + 1, 5 * PART])
    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_part_of_another_size_is_refused_and_not_kept(self, home: House, size: int, streamed: bool) -> None:
        async def stream() -> AsyncIterator[bytes]:
            for begin in range(0, size, 100):
                yield b"x" * min(100, size - begin)

        upload = await begun(home)
        content = stream() if streamed else b"x" * size
        answer = await home.client.put(upload["parts"][0]["url"], content=content)
        assert (answer.status_code, answer.json()["size_bytes"]) == (422, PART)
        assert received((await home.client.get(upload["urls"]["get"])).json()) == []

    async def test_a_part_whose_announced_hash_is_another_is_refused(self, home: House) -> None:
        upload = await begun(home)
        announced = {"x-content-sha256": hashlib.sha256(DATA[:PART]).hexdigest()}
        place = upload["parts"][0]["url"]
        assert (await home.client.put(place, content=b"x" * PART, headers=announced)).status_code == 422
        assert (await home.client.put(place, content=DATA[:PART], headers=announced)).status_code == 204

    async def test_what_is_missing_is_named(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload, 1, 3)
        answer = await home.client.post(upload["urls"]["complete"])
        assert (answer.status_code, answer.json()["missing"]) == (409, [2, 4])

    async def test_other_bytes_than_were_announced_are_thrown_away(self, home: House) -> None:
        upload = await begun(home)
        await send(home, upload, data=bytes(len(DATA)))
        answer = await home.client.post(upload["urls"]["complete"])
        assert answer.status_code == 422
        assert "send it again" in answer.json()["detail"]
        assert await keys_below(home.artifacts) == []
        await send(home, await begun(home))
        assert (await home.client.post(upload["urls"]["complete"])).status_code == 201

    async def test_a_part_that_somebody_cut_in_the_store_is_missing(self, home: House, tmp_path: Path) -> None:
        upload = await begun(home)
        await send(home, upload)
        (tmp_path / "artifacts" / "uploads" / upload["id"] / "part-00002").write_bytes(b"short")
        assert (await home.client.post(upload["urls"]["complete"])).json()["missing"] == [2]

    async def test_a_record_that_was_damaged_is_told(self, home: House, tmp_path: Path) -> None:
        upload = await begun(home)
        (tmp_path / "artifacts" / "uploads" / upload["id"] / "upload.json").write_bytes(b"{")
        assert (await home.client.get(upload["urls"]["get"])).json()["code"] == "corrupt"

    async def test_another_size_of_parts_begins_anew(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=LIMITS)) as first:
            await send(first, await begun(first), 1)
        async with house(tmp_path, chosen=policy(limits=replace(LIMITS, part_bytes=2 * PART))) as second:
            upload = await begun(second)
            assert (len(upload["parts"]), received(upload)) == (2, [])

    async def test_a_full_disk_takes_nothing_new_in(self, tmp_path: Path) -> None:
        chosen = policy(limits=LIMITS, data_folder=tmp_path, min_free_bytes=1000)
        async with house(tmp_path, chosen=chosen, free_bytes=lambda folder: 10) as home:
            answer = await home.client.post("/v1/uploads", json=wish())
            assert answer.json()["code"] == "disk_full"

    async def test_a_disk_that_fills_while_parts_are_joined_loses_none_of_them(self, tmp_path: Path) -> None:
        class Filling(DiskArtifacts):
            full = False

            async def put(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> Any:
                if self.full and key.startswith("inputs/"):
                    raise DiskFull("no room")
                return await super().put(key, chunks, **more)

        artifacts = Filling(tmp_path / "artifacts")
        async with house(tmp_path, chosen=policy(limits=LIMITS), artifacts=artifacts) as home:
            upload = await begun(home)
            await send(home, upload)
            artifacts.full = True
            assert (await home.client.post(upload["urls"]["complete"])).status_code == 507
            artifacts.full = False
            assert (await home.client.post(upload["urls"]["complete"])).json()["sha256"] == SHA256

    async def test_a_page_of_another_site_cannot_send_parts(self, home: House) -> None:
        upload = await begun(home)
        place, headers = upload["parts"][0]["url"], {"origin": "https://elsewhere.example"}
        assert (await home.client.put(place, content=DATA[:PART], headers=headers)).status_code == 403
        assert (
            await home.client.post("/v1/uploads", content=b"{}", headers={"content-type": "text/plain"})
        ).status_code == 415

    async def test_a_worker_s_token_is_no_caller_s(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(limits=LIMITS, access={"api_token": "api"})) as home:
            headers = {"authorization": f"Bearer {WORKER_TOKEN}"}
            assert (await home.client.post("/v1/uploads", json=wish(), headers=headers)).status_code == 401


class TestDirectLinks:
    async def test_missing_parts_go_straight_to_the_store(self, tmp_path: Path) -> None:
        class Remote(DiskArtifacts):
            async def presign(self, key: str, method: str, expires: timedelta) -> str | None:
                return f"https://store.example/{key}?{method}"

        chosen = policy(limits=LIMITS, direct_links=True)
        async with house(tmp_path, chosen=chosen, artifacts=Remote(tmp_path / "artifacts")) as home:
            upload = await begun(home)
            first = upload["parts"][0]
            assert first["url"] == f"https://store.example/uploads/{upload['id']}/part-00001?PUT"
            for part in upload["parts"]:
                key = part["url"].removeprefix("https://store.example/").removesuffix("?PUT")
                await home.artifacts.put(key, once(DATA[part["offset"] :][: part["size_bytes"]]))
            assert (await home.client.post(upload["urls"]["complete"])).json()["sha256"] == SHA256


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


class TestSweeping:
    async def test_what_nobody_completes_is_swept_after_a_day(self, home: House) -> None:
        await send(home, await begun(home), 1)
        day = policy().retention.uploads_seconds
        for left, passed in ((2, day - 60), (0, day + 60)):
            clock = ManualClock(datetime.now(UTC) + timedelta(seconds=passed))
            await Cleaner(home.store, home.artifacts, clock, policy().retention, policy().pace).turn()
            assert len(await keys_below(home.artifacts, "uploads")) == left


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 10**9, 4 << 30, 5 << 40])
async def test_there_are_never_too_many_parts(home: House, size: int) -> None:
    upload = Upload(id="i", name="n", size_bytes=size, part_bytes=max(PART, -(-size // MAX_PARTS)), media_type="x/y")
    assert upload.count <= MAX_PARTS
    spans = [upload.span(number) for number in range(1, upload.count + 1)]
    assert sum(length for _, length in spans) == size
    assert [offset for offset, _ in spans] == [number * upload.part_bytes for number in range(upload.count)]


async def test_the_document_names_the_shapes(home: House) -> None:
    document = json.loads((await home.client.get("/openapi.json")).content)
    assert {"SubmitUpload", "UploadView", "UploadPartView", "UploadUrls"} <= set(document["components"]["schemas"])
    assert "/v1/uploads/{upload_id}/{number}" in document["paths"]
