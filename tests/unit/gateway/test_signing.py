"""Links that open one artifact without a token, and nothing else, until they expire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.gateway.house import House, house, policy

from glowplug.artifact import job_prefix
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.clock import ManualClock
from glowplug.gateway.policy import Access
from glowplug.gateway.signing import LinkSigner
from glowplug.job import Note, Progress

LIFE = 3600.0
WITH_TOKEN = {"authorization": "Bearer api-secret"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer(clock: ManualClock) -> LinkSigner:
    return LinkSigner("secret", clock, life_seconds=LIFE)


class TestSigner:
    def test_a_link_opens_what_it_is_for_and_nothing_else(self, signer: LinkSigner) -> None:
        query = signer.query("inputs/1/a b.png")
        assert signer.admits("inputs/1/a b.png", query)
        for other in ("inputs/1/a b.pn", "inputs/1/a b.png/", "inputs/2/a b.png", "", "inputs/1/a%20b.png"):
            assert not signer.admits(other, query)

    async def test_it_is_good_for_its_time_and_a_quarter_more_at_most(
        self, signer: LinkSigner, clock: ManualClock
    ) -> None:
        for _ in range(20):
            await clock.advance(123.4)
            expires = int(parse_qs(signer.query("k"))["expires"][0])
            assert LIFE <= expires - clock.now().timestamp() <= LIFE * 1.25 + 1

    def test_a_query_of_too_many_fields_is_none_of_a_link(self, signer: LinkSigner) -> None:
        assert not signer.admits("k", signer.query("k") + "&a=1" * 20)

    async def test_it_expires(self, signer: LinkSigner, clock: ManualClock) -> None:
        query = signer.query("k")
        await clock.advance(LIFE - 1)
        assert signer.admits("k", query)
        await clock.advance(LIFE / 4 + 1)
        assert not signer.admits("k", query)

    async def test_links_read_soon_after_each_other_are_the_same(self, signer: LinkSigner, clock: ManualClock) -> None:
        await clock.advance(1)
        first = signer.query("k")
        await clock.advance(LIFE / 4 - 2)
        assert signer.query("k") == first
        await clock.advance(2)
        assert signer.query("k") != first

    def test_a_longer_life_cannot_be_written_into_it(self, signer: LinkSigner) -> None:
        said = parse_qs(signer.query("k"))
        later = int(said["expires"][0]) + 1
        assert not signer.admits("k", f"expires={later}&signature={said['signature'][0]}")

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "expires=9999999999",
            "signature=00",
            "expires=9999999999&signature=",
            "expires=9999999999&signature=%C3%A4",
            "expires=1e99&signature=00",
            "expires=-1&signature=00",
            "expires=%D9%A1&signature=00",
            "expires=" + "9" * 5000 + "&signature=00",
            "expires=1&expires=2&signature=00",
            "&".join(f"a{number}=1" for number in range(15)),
        ],
    )
    def test_nonsense_opens_nothing(self, signer: LinkSigner, query: str) -> None:
        assert not signer.admits("k", query)

    def test_another_secret_s_signature_opens_nothing(self, signer: LinkSigner, clock: ManualClock) -> None:
        assert not signer.admits("k", LinkSigner("other", clock, life_seconds=LIFE).query("k"))

    def test_where_no_token_is_needed_there_is_no_signer(self, clock: ManualClock) -> None:
        assert LinkSigner.of(Access(worker_token="w", link_secret="s"), clock) is None
        assert LinkSigner.of(Access(worker_token="w", api_token="t"), clock) is None
        assert LinkSigner.of(Access(worker_token="w", api_token="t", link_secret="s"), clock) is not None
        assert "hidden" not in repr(Access(worker_token="w", link_secret="hidden"))


@pytest.fixture
async def guarded(tmp_path: Path, clock: ManualClock) -> AsyncIterator[House]:
    access = {"api_token": "api-secret", "link_secret": "s", "link_seconds": LIFE}
    async with house(tmp_path, clock, policy(access=access)) as home:
        yield home


async def uploaded(home: House, data: bytes = b"bytes") -> dict[str, str]:
    made = await home.client.put("/v1/artifacts/cat.png", content=data, headers=WITH_TOKEN)
    assert made.status_code == 201
    return dict(made.json())


class TestGateway:
    async def test_the_link_of_an_upload_opens_without_the_token(self, guarded: House) -> None:
        link = (await uploaded(guarded))["url"]
        answer = await guarded.client.get(link)
        assert (answer.status_code, answer.content) == (200, b"bytes")
        assert (await guarded.client.head(link)).status_code == 200
        assert (await guarded.client.get(link, headers={"range": "bytes=1-2"})).content == b"yt"

    async def test_without_the_signature_the_token_is_needed(self, guarded: House) -> None:
        link = (await uploaded(guarded))["url"]
        assert (await guarded.client.get(urlsplit(link).path)).status_code == 401
        assert (await guarded.client.get(link.replace("signature=", "signature=0"))).status_code == 401
        assert (await guarded.client.get(urlsplit(link).path, headers=WITH_TOKEN)).status_code == 200

    async def test_it_is_for_reading_alone(self, guarded: House) -> None:
        made = await uploaded(guarded)
        query = urlsplit(made["url"]).query
        assert (await guarded.client.delete(made["url"])).status_code == 401
        assert (await guarded.client.put(made["url"], content=b"x")).status_code == 401
        assert (await guarded.client.get(f"/v1/jobs?{query}")).status_code == 401
        assert (await guarded.client.get(f"/api/internal/artifacts/{made['key']}?{query}")).status_code == 401

    async def test_after_its_time_it_is_refused(self, guarded: House, clock: ManualClock) -> None:
        link = (await uploaded(guarded))["url"]
        await clock.advance(LIFE * 1.25 + 1)
        assert (await guarded.client.get(link)).status_code == 401

    async def test_what_was_deleted_is_gone_for_links_too(self, guarded: House) -> None:
        made = await uploaded(guarded)
        path = urlsplit(made["url"]).path
        assert (await guarded.client.delete(path, headers=WITH_TOKEN)).status_code == 204
        assert (await guarded.client.get(made["url"])).status_code == 404

    async def test_a_job_s_files_and_preview_are_signed_each_time_it_is_read(
        self, guarded: House, clock: ManualClock
    ) -> None:
        guarded.client.headers.update(WITH_TOKEN)
        worker = await guarded.ready_worker()
        job = await guarded.submit()
        grant = await worker.one()
        artifacts = []
        for name in ("preview.png", "result.png"):
            key = f"{job_prefix(job['id'], grant.hold.token)}/{name}"
            artifacts.append(await guarded.artifacts.put(key, chunks(name.encode()), media_type="image/png"))
        await worker.note(grant, Note("progress", {}, progress=Progress(1, 2, preview=artifacts[0].uri)))
        running = await guarded.job(job["id"])
        assert await without_token(guarded, running["progress"]["preview_url"]) == b"preview.png"
        assert await worker.finish(grant, artifacts[1].uri, (artifacts[1],))
        done = await guarded.job(job["id"])
        assert await without_token(guarded, done["artifacts"][0]["url"]) == b"result.png"
        assert done["result"] == artifacts[1].uri
        await clock.advance(LIFE)
        assert (await guarded.job(job["id"]))["artifacts"][0]["url"] != done["artifacts"][0]["url"]

    async def test_without_a_token_links_are_plain(self, home: House) -> None:
        made = (await home.client.put("/v1/artifacts/cat.png", content=b"x")).json()
        assert made["url"] == f"/v1/artifacts/{made['key']}"

    async def test_where_the_store_gives_links_the_signed_one_leads_there(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        class Remote(DiskArtifacts):
            async def presign(self, key: str, method: str, expires: timedelta) -> str | None:
                return f"https://store.example/{key}?{method}={expires.total_seconds():.0f}"

        access = {"api_token": "api-secret", "link_secret": "s"}
        chosen = policy(access=access, direct_links=True)
        async with house(tmp_path, clock, chosen, artifacts=Remote(tmp_path / "a")) as home:
            made = await uploaded(home)
            answer = await home.client.get(made["url"])
        assert (answer.status_code, answer.headers["location"]) == (307, f"https://store.example/{made['key']}?GET=900")


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    await asyncio.sleep(0)
    yield data


async def without_token(home: House, link: str) -> bytes:
    answer = await home.client.get(link, headers={"authorization": ""})
    assert answer.status_code == 200
    return answer.content
