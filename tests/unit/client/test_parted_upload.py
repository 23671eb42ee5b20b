"""Large files: in parts, past whatever breaks on the way, and only what is missing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.unit.gateway.house import House, policy
from tests.unit.gateway.served import served

from glowplug.client import AsyncClient, RetryPolicy
from glowplug.client import files as client_files
from glowplug.client.exchange import Exchange
from glowplug.client.parted_upload import PartedUpload
from glowplug.client.views import UploadPartView
from glowplug.errors import Conflict, InvalidInput, NotReady, TooLarge, Unreachable
from glowplug.gateway.policy import Limits
from glowplug.runtime.backoff import Backoff
from glowplug.testing.artifacts import keys_below, pattern

PART = 300_000
DATA = pattern(4 * PART + 7)
SHA256 = hashlib.sha256(DATA).hexdigest()
SOON = RetryPolicy(attempts=2, backoff=Backoff(base_seconds=0.001, cap_seconds=0.002))
Before = Callable[[httpx.Request], httpx.Response | None]


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client_files, "PARTED_FROM_BYTES", PART)
    (tmp_path / "large.bin").write_bytes(DATA)
    return tmp_path / "large.bin"


class Meddling(httpx.AsyncHTTPTransport):
    """Passes on, unless `before` answers in the gateway's place or raises."""

    def __init__(self, before: Before) -> None:
        super().__init__()
        self._before = before
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
        answer = self._before(request)
        if answer is not None:
            await request.aread()
            return answer
        return await super().handle_async_request(request)

    def of_parts(self) -> list[str]:
        return sorted(said.removeprefix("PUT ") for said in self.asked if said.startswith("PUT "))


@asynccontextmanager
async def uploading(
    folder: Path, before: Before = lambda request: None, limit: int = 10 << 20
) -> AsyncIterator[tuple[House, AsyncClient, Meddling]]:
    chosen = policy(limits=Limits(artifact_bytes=limit, part_bytes=PART))
    transport = Meddling(before)
    async with (
        served(folder, chosen=chosen) as home,
        AsyncClient(str(home.client.base_url), retry=SOON, transport=transport) as client,
    ):
        yield home, client, transport


def once(holds: Callable[[httpx.Request], bool], happens: Callable[[], httpx.Response]) -> Before:
    """Let something happen to the first request of which that holds."""
    left = [True]

    def before(request: httpx.Request) -> httpx.Response | None:
        if left and holds(request):
            left.clear()
            return happens()
        return None

    return before


def is_part(number: int) -> Callable[[httpx.Request], bool]:
    return lambda request: request.method == "PUT" and request.url.path.endswith(f"/{number}")


def breaks() -> httpx.Response:
    raise httpx.ReadError("the line is dead")


async def test_a_large_file_goes_in_parts_and_a_small_one_does_not(tmp_path: Path, large: Path) -> None:
    async with uploading(tmp_path) as (home, client, transport):
        view = await client.upload(large, name="some thing.bin")
        assert (view.name, view.size_bytes, view.sha256) == ("some thing.bin", len(DATA), SHA256)
        assert transport.of_parts() == ["1", "2", "3", "4", "5"]
        (tmp_path / "small.bin").write_bytes(DATA[:PART])
        await client.upload(tmp_path / "small.bin")
        assert transport.of_parts()[-1] == "small.bin"
        assert len(await keys_below(home.artifacts, "inputs")) == 2


async def test_a_part_whose_line_broke_is_sent_again(tmp_path: Path, large: Path) -> None:
    async with uploading(tmp_path, once(is_part(3), breaks)) as (_, client, transport):
        assert (await client.upload(large)).sha256 == SHA256
        assert transport.of_parts() == ["1", "2", "3", "3", "4", "5"]


async def test_a_gateway_that_is_away_for_longer_is_waited_for(tmp_path: Path, large: Path) -> None:
    failures = iter(range(12))

    def away(request: httpx.Request) -> httpx.Response | None:
        if request.method == "PUT" and next(failures, None) is not None:
            raise httpx.ConnectError("nobody there")
        return None

    async with uploading(tmp_path, away) as (_, client, _transport):
        assert (await client.upload(large)).sha256 == SHA256


async def test_it_is_not_waited_for_without_end(tmp_path: Path, large: Path) -> None:
    def away(request: httpx.Request) -> httpx.Response | None:
        if request.method == "PUT":
            raise httpx.ConnectError("nobody there")
        return None

    async with uploading(tmp_path, away) as (home, _, transport):
        url = str(home.client.base_url)
        exchange = Exchange(url, None, timeout_seconds=5, retry=SOON, transport=transport)
        with pytest.raises(Unreachable):
            await PartedUpload(exchange, large, "large.bin", patience_seconds=0.05).send()
        await exchange.close()


async def test_who_was_interrupted_goes_on_with_what_is_missing(tmp_path: Path, large: Path) -> None:
    arrived = asyncio.Event()

    def stop_at_four(request: httpx.Request) -> httpx.Response | None:
        if is_part(4)(request):
            arrived.set()
            return httpx.Response(507, json={"code": "disk_full", "detail": "no room", "status": 507})
        return None

    async with uploading(tmp_path, stop_at_four) as (home, client, _):
        with pytest.raises(Exception, match="no room"):
            await client.upload(large)
        assert arrived.is_set()
        have = {key.rpartition("-")[2] for key in await keys_below(home.artifacts, "uploads") if "part-" in key}
        second = Meddling(lambda request: None)
        async with AsyncClient(str(home.client.base_url), transport=second) as other:
            assert (await other.upload(large)).sha256 == SHA256
        assert not have & {f"{int(number):05}" for number in second.of_parts()}
        assert "4" in second.of_parts()


async def test_a_part_that_got_lost_is_sent_once_more(tmp_path: Path, large: Path) -> None:
    problem = {"code": "conflict", "detail": "1 parts are missing: 2", "status": 409}
    lost = once(lambda request: request.url.path.endswith("/complete"), lambda: httpx.Response(409, json=problem))
    async with uploading(tmp_path, lost) as (_, client, transport):
        assert (await client.upload(large)).sha256 == SHA256
        assert transport.asked.count("POST uploads") == 2


async def test_what_is_lost_again_and_again_is_told(tmp_path: Path, large: Path) -> None:
    def always(request: httpx.Request) -> httpx.Response | None:
        lost = {"code": "conflict", "detail": "parts are missing", "status": 409}
        return httpx.Response(409, json=lost) if request.url.path.endswith("/complete") else None

    async with uploading(tmp_path, always) as (_, client, _transport):
        with pytest.raises(Conflict):
            await client.upload(large)


async def test_an_answer_to_complete_that_was_lost_is_asked_for_again(tmp_path: Path, large: Path) -> None:
    done = asyncio.Event()

    class Forgetful(Meddling):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if request.url.path.endswith("/complete") and not done.is_set():
                done.set()
                await answer.aclose()
                raise httpx.ReadError("the answer was lost")
            return answer

    async with uploading(tmp_path) as (home, _, _transport):
        transport = Forgetful(lambda request: None)
        async with AsyncClient(str(home.client.base_url), retry=SOON, transport=transport) as client:
            assert (await client.upload(large)).sha256 == SHA256
        assert done.is_set()
        assert len(await keys_below(home.artifacts, "inputs")) == 1


async def test_a_file_that_changes_meanwhile_becomes_no_artifact(tmp_path: Path, large: Path) -> None:
    def rewrite(request: httpx.Request) -> httpx.Response | None:
        if is_part(1)(request):
            large.write_bytes(bytes(len(DATA)))
        return None

    async with uploading(tmp_path, rewrite) as (home, client, _):
        with pytest.raises(InvalidInput, match="send it again"):
            await client.upload(large)
        assert await keys_below(home.artifacts) == []


async def test_a_file_that_shrinks_meanwhile_is_told(tmp_path: Path, large: Path) -> None:
    def cut(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/v1/uploads"):
            large.write_bytes(b"short")
        return None

    async with uploading(tmp_path, cut) as (home, client, _):
        with pytest.raises(InvalidInput, match="became shorter"):
            await client.upload(large)
        assert await keys_below(home.artifacts, "inputs") == []


async def test_a_file_beyond_the_limit_is_refused_before_a_byte_is_sent(tmp_path: Path, large: Path) -> None:
    async with uploading(tmp_path, limit=PART) as (_, client, transport):
        with pytest.raises(TooLarge):
            await client.upload(large)
        assert transport.of_parts() == []


async def test_a_gateway_that_starts_is_waited_for(tmp_path: Path, large: Path) -> None:
    starting = {"code": NotReady.code, "detail": "starting", "status": 503, "retryable": True}
    failures = iter(range(3))

    def early(request: httpx.Request) -> httpx.Response | None:
        if is_part(2)(request) and next(failures, None) is not None:
            return httpx.Response(503, json=starting)
        return None

    async with uploading(tmp_path, early) as (_, client, _transport):
        assert (await client.upload(large)).sha256 == SHA256


async def test_a_link_of_a_store_gets_no_token_and_keeps_its_signature(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path.endswith("/complete"):
            return httpx.Response(201, json={"uri": "artifact:inputs/1/f", "sha256": digest})
        if request.method == "POST":
            parts = [{"number": 1, "offset": 0, "size_bytes": 3, "url": "https://store.example/k?X-Signature=abc"}]
            return httpx.Response(201, json={"id": "0" * 32, "parts": parts})
        return httpx.Response(200)

    (tmp_path / "f").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    exchange = Exchange("http://gw", "token", timeout_seconds=5, retry=SOON, transport=httpx.MockTransport(answer))
    await PartedUpload(exchange, tmp_path / "f", "f").send()
    await exchange.close()
    begin, part, complete = seen
    assert begin.headers["authorization"] == complete.headers["authorization"] == "Bearer token"
    assert (str(part.url), part.headers["content-length"]) == ("https://store.example/k?X-Signature=abc", "3")
    assert "authorization" not in part.headers
    assert "transfer-encoding" not in part.headers
    assert part.content == b"abc"


async def test_the_gateway_may_know_itself_by_another_name(tmp_path: Path) -> None:
    part = UploadPartView(2, 0, 3, url=f"https://public.example/v1/uploads/{'0' * 32}/2")
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(204)

    (tmp_path / "f").write_bytes(b"abc")
    exchange = Exchange("http://gw", None, timeout_seconds=5, retry=SOON, transport=httpx.MockTransport(answer))
    await PartedUpload(exchange, tmp_path / "f", "f")._send_parts("0" * 32, iter([part]))
    await exchange.close()
    assert seen == [f"http://gw/v1/uploads/{'0' * 32}/2"]
