"""Files of the web: bounded, guarded, and told in words that hold no secret."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from glowplug.artifacts.web import WebFiles
from glowplug.errors import BugError, GlowplugError, InvalidInput, RemoteError, TooLarge

BOUND = 20
LIMIT = 100_000


@dataclass
class Site:
    """A server on this machine, and what it was asked with."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()

    async def answer(request: web.Request) -> web.StreamResponse:
        made.headers.append(dict(request.headers))
        kind = request.match_info["kind"]
        if kind == "photo.png":
            return web.Response(body=b"picture")
        if kind == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(b"x" * 50_000)
            except ConnectionError:
                return response
        if kind == "packed":
            return web.Response(body=gzip.compress(b"x" * 10_000_000), headers={"Content-Encoding": "gzip"})
        if kind == "cookie":
            return web.Response(body=b"x", headers={"Set-Cookie": "a=b"})
        if kind == "moved":
            raise web.HTTPFound("/photo.png")
        if kind == "round":
            raise web.HTTPFound("/round")
        if kind == "elsewhere":
            raise web.HTTPFound("file:///etc/passwd")
        return web.Response(status=int(kind), body=b"x" * 10)

    app = web.Application()
    app.router.add_get("/{kind}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def read(url: str, *, allow_private: bool = True, limit_bytes: int = LIMIT) -> bytes:
    async with asyncio.timeout(BOUND), WebFiles(limit_bytes=limit_bytes, allow_private=allow_private) as files:
        return b"".join([piece async for piece in files.read(url)])


async def test_a_file_comes_and_nothing_of_ours_goes(site: Site) -> None:
    assert await read(f"{site.url}/photo.png?sig=secret") == b"picture"
    assert set(site.headers[0]) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


async def test_a_redirect_is_followed_a_few_times_and_only_to_the_web(site: Site) -> None:
    assert await read(f"{site.url}/moved") == b"picture"
    for kind in ("round", "elsewhere"):
        with pytest.raises(InvalidInput, match="cannot be called"):
            await read(f"{site.url}/{kind}")


async def test_what_is_too_large_ends_early_also_if_it_does_not_say_so(site: Site) -> None:
    with pytest.raises(TooLarge, match="GLOWPLUG_WORKER_MAX_URL_BYTES"):
        await read(f"{site.url}/endless")
    with pytest.raises(TooLarge):
        await read(f"{site.url}/photo.png", limit_bytes=6)


async def test_nothing_is_unpacked(site: Site) -> None:
    assert len(await read(f"{site.url}/packed")) < LIMIT


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("404", InvalidInput), ("403", InvalidInput), ("204", InvalidInput), ("500", RemoteError), ("503", RemoteError)],
)
async def test_an_error_is_told_without_what_signs_the_address(
    site: Site, kind: str, wanted: type[GlowplugError]
) -> None:
    with pytest.raises(wanted, match=f"answered {kind}") as caught:
        await read(f"{site.url}/{kind}?signature=hunter2")
    assert "hunter2" not in caught.value.message


async def test_nobody_there_is_another_try() -> None:
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9/x cannot be reached"):
        await read("http://127.0.0.1:9/x?signature=hunter2")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "0x7f.1", "169.254.169.254", "10.0.0.1"]
)
async def test_what_lies_inside_the_network_is_refused_with_the_fix(site: Site, host: str) -> None:
    url = f"http://{host}:{site.url.rpartition(':')[2]}/photo.png"
    with pytest.raises(InvalidInput, match="GLOWPLUG_WORKER_ALLOW_PRIVATE_URLS=true"):
        await read(url, allow_private=False)
    assert site.headers == []


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@example.com/a.png", "ftp://example.com/a", "http:///a", "nonsense"]
)
async def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await read(url, allow_private=False)
    assert "hunter2" not in caught.value.message


async def test_it_is_used_between_start_and_stop() -> None:
    with pytest.raises(BugError):
        await anext(aiter(WebFiles(limit_bytes=1, allow_private=True).read("http://example.com/")))
