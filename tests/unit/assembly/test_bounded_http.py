"""The bounds of a request's head, and of the patience with who does not read, on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from glowplug.assembly.bounded_http import HEAD_BYTES, BoundedHttp
from glowplug.assembly.server import HttpServer

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer how long the body was, and how many headers there were."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = f"{size} {len(scope['headers'])}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncio.timeout(20), HttpServer(length, listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status = int((await reader.readline()).split()[1])
    size = 0
    while (line := await reader.readline()).strip():
        name, _, value = line.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    return status, await reader.readexactly(size)


async def test_a_header_that_never_ends_is_refused_and_the_connection_closed() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD + b"X: " + b"a" * HEAD_BYTES)
        assert (await answer(reader))[0] == 400
        assert await reader.read() == b""


async def test_many_short_headers_are_counted_together() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD + b"X: aaaaaaaaaaaaaaa\r\n" * (HEAD_BYTES // 8))
        assert (await answer(reader))[0] == 400


async def test_a_body_may_be_much_longer_than_a_head() -> None:
    async with connected() as (reader, writer):
        size = 8 * HEAD_BYTES
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
        assert await answer(reader) == (200, b"%d 2" % size)


async def test_each_request_of_a_connection_is_counted_by_itself() -> None:
    async with connected() as (reader, writer):
        for _ in range(5):
            writer.write(HEAD + b"Content-Length: 0\r\nX: " + b"a" * (HEAD_BYTES // 3) + b"\r\n\r\n")
            assert await answer(reader) == (200, b"0 3")


async def test_a_head_may_come_in_pieces() -> None:
    async with connected() as (reader, writer):
        for piece in (b"POST / HT", b"TP/1.1\r\nHo", b"st: localhost\r\nContent-Length: 2\r\n", b"\r\nh", b"i"):
            writer.write(piece)
            await writer.drain()
        assert await answer(reader) == (200, b"2 2")


async def test_requests_sent_together_are_all_answered() -> None:
    async with connected() as (reader, writer):
        writer.write((HEAD + b"Content-Length: 1\r\n\r\nx") * 3)
        assert [await answer(reader) for _ in range(3)] == [(200, b"1 2")] * 3


async def test_trailers_do_not_become_headers() -> None:
    async with connected() as (reader, writer):
        writer.write(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"Authorization: Bearer x\r\n" * 9 + b"\r\n"
        )
        assert await answer(reader) == (200, b"1 2")


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nHost: lo"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "head_seconds", 0.05)
    async with connected() as (reader, writer):
        writer.write(begun)
        assert await reader.read() == b""


async def test_a_body_that_takes_longer_than_a_head_may_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "head_seconds", 0.05)
    async with connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n")
        other, idle = await asyncio.open_connection(*writer.get_extra_info("peername"))
        assert await other.read() == b""
        idle.close()
        writer.write(b"hi")
        assert await answer(reader) == (200, b"2 2")


async def test_who_leaves_ends_all_its_requests_also_those_sent_without_waiting() -> None:
    began, ended = [], asyncio.Event()

    async def lasting(scope: Scope, receive: Receive, send: Send) -> None:
        began.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            continue
        ended.set()

    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncio.timeout(20), HttpServer(lasting, listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(3)))
        while not began:
            await asyncio.sleep(0.005)
        writer.close()
        await ended.wait()
        assert began == ["/0"]


PIECE = b"x" * 65536


class Endless:
    """Answers without end, as fast as it is taken; `ended` is when nobody takes it any more."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        leaving = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await asyncio.sleep(0)
        self.ended.set()


@asynccontextmanager
async def reading(application: Endless) -> AsyncIterator[socket.socket]:
    """Yield a socket that has asked and whose machine keeps as little as it may of what comes."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncio.timeout(20), HttpServer(application, listener):
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            await asyncio.get_running_loop().sock_connect(reader, listener.getsockname())
            reader.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            yield reader


async def test_a_reader_that_takes_nothing_loses_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "stall_seconds", 0.05)
    endless = Endless()
    async with reading(endless) as reader:
        await endless.ended.wait()
        got, loop = [b"x"], asyncio.get_running_loop()
        while got[-1]:
            got.append(await loop.sock_recv(reader, len(PIECE)))
        assert not b"".join(got).endswith(b"0\r\n\r\n"), "half an answer must not look like a whole one"


async def test_a_reader_that_takes_a_little_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "stall_seconds", 0.1)
    endless, loop = Endless(), asyncio.get_running_loop()
    async with reading(endless) as reader:
        until = loop.time() + 0.5
        # Far less than the kernel hands on at a time: the server's own part does not move in all the while.
        while loop.time() < until:
            await loop.sock_recv(reader, 2048)
            await asyncio.sleep(0.02)
        assert not endless.ended.is_set()
        await endless.ended.wait()
