"""Streams that are passed on: to their end, or until the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest

from glowplug.gateway.streamed import Events, Streamed, event

LIMIT_SECONDS = 10


class Client:
    """An ASGI server's side of a request whose client leaves after so many pieces, and the source of its answer."""

    def __init__(self, leaves_after: int) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.closed = 0
        self._left = asyncio.Event()
        self._leaves_after = leaves_after

    async def receive(self) -> MutableMapping[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        # As uvicorn does it, who takes everything at once from then on.
        self.sent.append(message)
        if len(self.sent) > self._leaves_after:
            self._left.set()

    async def aclose(self) -> None:
        self.closed += 1

    async def ask(self, pieces: AsyncIterator[bytes]) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await Streamed(pieces, self, "text/plain")({"type": "http"}, self.receive, self.send)


async def a_few() -> AsyncIterator[bytes]:
    for piece in (b"one", b"two"):
        yield piece


async def without_end() -> AsyncIterator[bytes]:
    """Yield pieces each of which is there as soon as it is asked for, as from a quick worker."""
    loop = asyncio.get_running_loop()
    while True:
        came: asyncio.Future[bytes] = loop.create_future()
        loop.call_soon(came.set_result, b"on")
        yield await came


async def broken() -> AsyncIterator[bytes]:
    yield b"one"
    raise RuntimeError("broke")


async def test_all_is_sent_and_its_source_let_go() -> None:
    client = Client(leaves_after=100)
    await client.ask(a_few())
    assert [one.get("body") for one in client.sent] == [None, b"one", b"two", b""]
    assert client.closed == 1


async def test_a_stream_that_always_has_a_piece_ends_with_its_client() -> None:
    client = Client(leaves_after=10)
    await client.ask(without_end())
    assert len(client.sent) < 20
    assert client.closed == 1


async def test_events_are_kept_by_nobody_on_the_way() -> None:
    client = Client(leaves_after=100)
    async with asyncio.timeout(LIMIT_SECONDS):
        await Events(a_few(), client)({"type": "http"}, client.receive, client.send)
    headers = dict(client.sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-cache", b"no")


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    assert event({"text": "a\n\nb\r\u2028"}) == 'data: {"text":"a\\n\\nb\\r\u2028"}\n\n'.encode()


async def test_what_breaks_it_is_told_and_its_source_let_go() -> None:
    client = Client(leaves_after=100)
    with pytest.raises(RuntimeError, match="broke"):
        await client.ask(broken())
    assert client.closed == 1


async def test_whoever_stops_sending_stops_the_stream() -> None:
    client = Client(leaves_after=10**9)
    sending = asyncio.create_task(client.ask(without_end()))
    while len(client.sent) < 3:
        await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait([sending], timeout=LIMIT_SECONDS)
    assert sending.cancelled()
    assert client.closed == 1
