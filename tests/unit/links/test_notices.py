"""Posting to a backend that is not ours."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.links.servers import backend

from glowplug.errors import DeadlineExceeded, GlowplugError, RemoteError, Unauthorized, Unreachable
from glowplug.links.notices import BackendPost

PATH = "/api/internal/ai-service-ready"
BODY = {"instance_id": "w1", "status": "ready", "load_time": 12.5}
BOUND = 20


async def test_a_notice_is_posted_as_json_below_the_backends_address() -> None:
    async with asyncio.timeout(BOUND), backend() as it, BackendPost(it.url + "/app/", "sesame") as post:
        await post(PATH, BODY)
        ((path, headers, body),) = it.asked
        assert (path, body) == ("/app" + PATH, BODY)
        assert headers["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_success_will_do(status: int) -> None:
    async with asyncio.timeout(BOUND), backend() as it, BackendPost(it.url) as post:
        it.answers = [(status, b"")]
        await post(PATH, BODY)
        assert "Authorization" not in it.asked[0][1]


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (404, RemoteError), (500, RemoteError)])
async def test_a_refusal_is_an_error(status: int, kind: type[GlowplugError]) -> None:
    async with asyncio.timeout(BOUND), backend() as it, BackendPost(it.url) as post:
        it.answers = [(status, b"")]
        with pytest.raises(kind, match=PATH):
            await post(PATH, BODY)


async def test_nobody_there_names_the_setting_to_check() -> None:
    async with asyncio.timeout(BOUND):
        async with backend() as it:
            url = it.url
        async with BackendPost(url) as post:
            with pytest.raises(Unreachable, match="BACKEND_URL"):
                await post(PATH, BODY)


async def test_silence_is_a_deadline_exceeded() -> None:
    async with asyncio.timeout(BOUND), backend() as it, BackendPost(it.url) as post:
        it.hangs = True
        assert post._session is not None
        post._session._timeout = aiohttp.ClientTimeout(total=0.05)
        with pytest.raises(DeadlineExceeded):
            await post(PATH, BODY)


async def test_notices_that_are_not_started_reach_nobody() -> None:
    with pytest.raises(Unreachable):
        await BackendPost("http://127.0.0.1:1")(PATH, BODY)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_refusal_and_nothing_is_posted_elsewhere(status: int) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", elsewhere)
    async with asyncio.timeout(BOUND), TestServer(app) as server, BackendPost(str(server.make_url("/")), "t") as post:
        with pytest.raises(RemoteError, match=str(status)):
            await post(PATH, BODY)
    assert asked == [PATH]
