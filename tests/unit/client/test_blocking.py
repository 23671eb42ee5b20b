"""The door between a program that waits and a client that awaits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from glowplug.client import Client

LIMIT_SECONDS = 20
URL = "http://gateway.test"


class Endless(httpx.AsyncByteStream):
    """A stream of events that never ends by itself, and knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        number = 0
        while True:
            number += 1
            yield b"data: %d\n\n" % number
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        self.closed.set()


@pytest.fixture
def endless() -> Iterator[tuple[Client, Endless]]:
    stream = Endless()

    def answer(request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    with Client(URL, transport=httpx.MockTransport(answer)) as client:
        yield client, stream


def test_values_are_taken_one_at_a_time(endless: tuple[Client, Endless]) -> None:
    client, _ = endless
    values = client.stream("a.count")
    assert [next(values) for _ in range(3)] == [1, 2, 3]


def test_leaving_a_stream_closes_its_connection_at_once(endless: tuple[Client, Endless]) -> None:
    client, stream = endless
    for _ in client.stream("a.count"):
        break
    assert stream.closed.wait(LIMIT_SECONDS)


def test_an_error_in_the_loop_closes_the_connection_too(endless: tuple[Client, Endless]) -> None:
    client, stream = endless

    def work() -> None:
        for value in client.stream("a.count"):
            raise ValueError(value)

    with pytest.raises(ValueError, match="1"):
        work()
    assert stream.closed.wait(LIMIT_SECONDS)


def test_an_interrupt_cancels_what_is_under_way() -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    class Interrupted(Exception):
        pass

    with Client(URL) as client:
        portal = client._open()
        begin = portal.start_task_soon

        def interrupted(call: Any) -> Any:
            future = begin(call)
            result = future.result
            future.result = lambda timeout=None: (_ for _ in ()).throw(Interrupted)  # type: ignore[method-assign]
            del result
            return future

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(portal, "start_task_soon", interrupted)
            with pytest.raises(Interrupted):
                client.wait_for(forever)
        assert cancelled.wait(LIMIT_SECONDS)


def test_errors_come_through_the_door_as_they_are() -> None:
    async def fail() -> None:
        raise LookupError("here")

    with Client(URL) as client, pytest.raises(LookupError, match="here"):
        client.wait_for(fail)


def test_closing_ends_the_thread() -> None:
    async def name() -> str:
        return threading.current_thread().name

    client = Client(URL)
    first = client.wait_for(name)
    assert first != threading.current_thread().name
    client.close()
    assert first not in [thread.name for thread in threading.enumerate() if thread.is_alive()]


def test_two_clients_have_two_loops() -> None:
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    with Client(URL) as one, Client(URL) as two:
        assert one.wait_for(loop) != two.wait_for(loop)


async def test_a_blocking_client_may_be_used_beside_a_running_loop() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"models": [{"name": request.url.path}]})

    def work() -> str:
        with Client(URL, transport=httpx.MockTransport(answer)) as client:
            return client.models()[0].name

    assert await asyncio.to_thread(work) == "/v1/models"
    assert work() == "/v1/models"
