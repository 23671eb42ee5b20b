"""The doorman and the gateway behind it say the same of the same: clients learn one shape for each path."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.gateway.house import ECHO, SAY, picture
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from glowplug.assembly.interior import Interior
from glowplug.assembly.opening import make_telemetry
from glowplug.assembly.server import HttpServer
from glowplug.boot import Application, Doorman, bind
from glowplug.clock import SystemClock
from glowplug.link import Register
from glowplug.readiness import Status
from glowplug.settings import Settings

LIMIT_SECONDS = 20
MODEL = replace(ECHO, tasks=(replace(SAY, serves="embeddings"),))
OF_COMPONENTS = {"links", "loading_seconds", "loading_time", "model_name", "echo_available", "startup_time_ms"}
"""What is told of models alone, or by a server that knows where it is; absent facts are absent."""

OF_MODELS: list[tuple[str, str, Any]] = [
    ("GET", "/health", None),
    ("GET", "/api/health", None),
    ("GET", "/api/ready", None),
    ("GET", "/api/v1/admin/ready", None),
    ("GET", "/ready/echo", None),
    ("GET", "/readyz/echo", None),
    ("GET", "/v2/health/live", None),
    ("GET", "/v2/health/ready", None),
    ("GET", "/v2/models/echo/ready", None),
    ("POST", "/v1/embeddings", {"model": "echo", "input": "a"}),
    ("POST", "/v2/models/echo/infer", {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}),
]
OF_ITSELF = ["/ready", "/readyz", "/startupz"]


def settings_of(folder: Path) -> Settings:
    return Settings.load({"GLOWPLUG_DATA": str(folder), "GLOWPLUG_STORE": "memory:"})


def interior(folder: Path) -> Interior:
    settings = settings_of(folder)
    return Interior(settings, SystemClock(), "worker-token", make_telemetry(settings, "worker-token"))


@asynccontextmanager
async def asking(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application)
    async with (
        asyncio.timeout(LIMIT_SECONDS),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def keys(body: Any) -> Any:
    """Return which members there are, all the way down."""
    return {name: keys(value) for name, value in body.items()} if isinstance(body, dict) else None


def shape(answer: httpx.Response) -> tuple[int, str | None, Any]:
    body = answer.json()
    told = {name: value for name, value in body.items() if name not in OF_COMPONENTS and name != "services"}
    return answer.status_code, answer.headers["content-type"], keys(told)


def left() -> Doorman:
    doorman = Doorman()
    doorman.shut()
    return doorman


async def test_what_is_said_of_models_is_what_the_gateway_says_while_they_load(tmp_path: Path) -> None:
    async with interior(tmp_path) as rooms, asking(rooms.application) as later, asking(Doorman()) as early:
        await rooms.gateway.desk.register(Register("w1", "one", 1, picture(Status.LOADING), models=(MODEL,)))
        answers = {
            (method, path): (
                shape(await early.request(method, path, json=body)),
                shape(await later.request(method, path, json=body)),
            )
            for method, path, body in OF_MODELS
        }
    assert {path: first for path, (first, _) in answers.items()} == {path: then for path, (_, then) in answers.items()}


async def test_what_is_said_of_the_gateway_is_what_it_says_before_it_has_started(tmp_path: Path) -> None:
    async with asking(interior(tmp_path).application) as later, asking(Doorman()) as early:
        for path in OF_ITSELF:
            assert shape(await early.get(path)) == shape(await later.get(path)), path


async def test_what_is_said_of_a_gateway_that_has_left_is_what_it_says_while_it_leaves(tmp_path: Path) -> None:
    async with interior(tmp_path) as rooms, asking(rooms.application) as before, asking(left()) as late:
        rooms.drain()
        for path in OF_ITSELF:
            assert shape(await late.get(path)) == shape(await before.get(path)), path


async def test_readiness_may_be_read_by_a_page_of_any_origin_from_the_first_moment_on(tmp_path: Path) -> None:
    async with interior(tmp_path) as rooms, asking(rooms.application) as later, asking(Doorman()) as early:
        for _, path, body in OF_MODELS:
            if body is None and "echo" not in path:
                first, then = await early.get(path), await later.get(path)
                shared = ("access-control-allow-origin", "access-control-expose-headers", "cache-control")
                assert [first.headers.get(name) for name in shared] == [then.headers.get(name) for name in shared], path
                assert ("retry-after" in first.headers) == ("retry-after" in then.headers), path


class TestOverTheWire:
    @pytest.fixture
    def listener(self) -> Iterator[socket.socket]:
        with bind("127.0.0.1", 0) as made:
            yield made

    @pytest.fixture(params=[Doorman, left], ids=["early", "late"])
    async def at(self, listener: socket.socket, request: pytest.FixtureRequest) -> AsyncIterator[str]:
        async with asyncio.timeout(LIMIT_SECONDS), HttpServer(request.param(), listener):
            yield f"127.0.0.1:{listener.getsockname()[1]}"

    async def test_a_socket_opens_and_closes_with_1013(self, at: str) -> None:
        for offered in (None, [Subprotocol("chat"), Subprotocol("other")]):
            async with connect(f"ws://{at}/ws/conversation", subprotocols=offered) as talking:
                assert talking.subprotocol == (offered[0] if offered else None)
                with pytest.raises(ConnectionClosedError):
                    await talking.recv()
            assert talking.close_code == 1013
            assert "ask again" in (talking.close_reason or "")

    async def test_one_connection_sees_every_kind_of_request_through(self, at: str) -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=f"http://{at}", limits=limits) as client:
            head, whole = await client.head("/ready"), await client.get("/ready")
            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert head.headers["content-length"] == whole.headers["content-length"]
            assert (await client.options("/v1/jobs")).status_code == 503
            big = await client.post("/v1/embeddings", content=bytes(4_000_000))
            assert (big.status_code, list(big.json())) == (503, ["error"])
            async with client.stream("GET", "/api/ready/stream") as stream:
                assert (await stream.aread()).startswith(b"retry: 1000\n\n")
            assert (await client.head("/api/ready/stream")).content == b""
            assert (await client.get("/livez")).json() == {"status": "alive"}
