"""An HTTP server with a life."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from glowplug.assembly.server import HttpServer
from glowplug.boot import Doorman, Receive, Scope, Send, bind
from glowplug.errors import SettingsError


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    made = bind("127.0.0.1", 0)
    yield made
    made.close()


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_it_answers_from_start_to_stop(listener: socket.socket) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=url_of(listener)) as client:
        async with HttpServer(hello, listener):
            answer = await client.get("/")
            assert (answer.status_code, answer.text) == (200, "hello")
        with pytest.raises(httpx.TransportError):
            await client.get("/")


async def test_it_does_not_say_what_it_is(listener: socket.socket) -> None:
    async with asyncio.timeout(20), HttpServer(hello, listener), httpx.AsyncClient() as client:
        assert "server" not in (await client.get(url_of(listener))).headers


async def test_its_port_is_free_for_the_next_at_once(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        async with HttpServer(hello, listener):
            await client.get(url_of(listener))
        again = bind("127.0.0.1", port)
        async with HttpServer(hello, again):
            assert (await client.get(url_of(again))).text == "hello"


async def test_a_request_that_runs_is_finished_before_it_stops(listener: socket.socket) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await hello(scope, receive, send)

    server = HttpServer(slow, listener)
    await server.start()
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(url_of(listener)))
        await begun.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        go_on.set()
        assert (await asking).text == "hello"
        await stopping


async def test_a_fault_of_the_application_is_a_500_and_the_next_is_answered(listener: socket.socket) -> None:
    faults = [RuntimeError("boom")]

    async def shaky(scope: Scope, receive: Receive, send: Send) -> None:
        if faults:
            raise faults.pop()
        await hello(scope, receive, send)

    async with asyncio.timeout(20), HttpServer(shaky, listener), httpx.AsyncClient() as client:
        assert (await client.get(url_of(listener))).status_code == 500
        assert (await client.get(url_of(listener))).text == "hello"


async def test_stopping_without_starting_is_harmless(listener: socket.socket) -> None:
    await HttpServer(hello, listener).stop()


async def test_a_server_on_a_closed_port_says_so(listener: socket.socket) -> None:
    listener.close()
    async with asyncio.timeout(20):
        with pytest.raises(OSError, match=r"."):
            await HttpServer(hello, listener).start()


async def test_a_port_is_taken_while_somebody_serves_on_it(listener: socket.socket) -> None:
    async with asyncio.timeout(20), HttpServer(hello, listener):
        with pytest.raises(SettingsError, match="--port"):
            bind("127.0.0.1", listener.getsockname()[1])


async def test_an_application_may_take_the_place_of_the_doorman_while_it_serves(listener: socket.socket) -> None:
    doorman = Doorman()
    async with (
        asyncio.timeout(20),
        HttpServer(doorman, listener),
        httpx.AsyncClient(base_url=url_of(listener)) as client,
    ):
        early = await client.get("/v1/jobs")
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        doorman.open(hello)
        assert (await client.get("/v1/jobs")).text == "hello"
        assert (await client.get("/livez")).json() == {"status": "alive"}
