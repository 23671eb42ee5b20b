"""A session for addresses that strangers name: what it reaches, and what it keeps of an answer."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from glowplug.drivers.guarded_http import guarded_session, was_refused

BOUND = 20
PACKED = gzip.compress(b"0" * 1_000_000)


@dataclass
class Site:
    """A server on this machine that remembers what it was sent."""

    url: str
    asked: list[web.BaseRequest]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    asked: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        headers = {
            "Set-Cookie": "seen=1",
            "Content-Encoding": "gzip",
            "X-Long": "x" * int(request.query.get("long", 1)),
        }
        return web.Response(body=PACKED, headers=headers)

    server = web.ServerRunner(web.Server(answer))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    yield Site(f"http://127.0.0.1:{server.addresses[0][1]}/", asked)
    await server.cleanup()


def session(*, allow_private: bool = True) -> aiohttp.ClientSession:
    return guarded_session(
        allow_private=allow_private,
        resolver=None,
        timeout=aiohttp.ClientTimeout(total=BOUND),
        per_host=2,
        header_bytes=1024,
        headers={"X-Own": "1"},
    )


async def test_nothing_private_is_reached_unless_it_is_allowed(site: Site) -> None:
    async with asyncio.timeout(BOUND), session(allow_private=False) as guarded:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await guarded.get(site.url)
    assert was_refused(caught.value)
    assert site.asked == []


async def test_an_answer_leaves_no_cookie_and_is_not_unpacked(site: Site) -> None:
    async with asyncio.timeout(BOUND), session() as allowed:
        for _ in range(2):
            async with allowed.get(site.url) as answer:
                assert await answer.read() == PACKED
    assert [request.headers.get("Cookie") for request in site.asked] == [None, None]
    assert [(request.headers["User-Agent"], request.headers["X-Own"]) for request in site.asked] == [
        ("glowplug", "1")
    ] * 2


async def test_a_header_without_end_is_no_answer(site: Site) -> None:
    async with asyncio.timeout(BOUND), session() as allowed:
        with pytest.raises(aiohttp.ClientError):
            await allowed.get(f"{site.url}?long=5000")


def test_another_failure_is_no_refusal() -> None:
    assert not was_refused(OSError("away"))
    assert not was_refused(aiohttp.ClientConnectionError())
