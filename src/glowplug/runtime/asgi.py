"""The little of HTTP that direct calls need: reading a body within a limit, answering, and noticing who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from glowplug.errors import GlowplugError, TooLarge
from glowplug.runtime.problem import problem, retry_after

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")
_EVENTS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class ClientGone(Exception):
    """The caller closed the connection before it had sent its request."""


async def read_body(receive: Receive, headers: dict[bytes, bytes], limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it has more than `limit` bytes; the rest is not read.
        ClientGone: there will be no more of it.
    """
    if int(headers.get(b"content-length", b"0")) > limit:
        raise _too_large(limit)
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return body


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body has more than {limit} bytes; upload large files as artifacts and send their references",
        limit_bytes=limit,
    )


async def answer(send: Send, status: int, body: bytes, *headers: Header) -> None:
    """Send a complete answer; JSON unless a header says otherwise."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *(headers or (_JSON,))]})
    await send({"type": "http.response.body", "body": body})


async def answer_problem(send: Send, error: GlowplugError) -> None:
    """Send an error as problem+json."""
    headers: list[Header] = [(b"content-type", b"application/problem+json")]
    if (seconds := retry_after(error)) is not None:
        headers.append((b"retry-after", seconds))
    if isinstance(error, TooLarge):
        # Else the server would go on reading the rest, however long it is, to keep the connection.
        headers.append((b"connection", b"close"))
    await answer(send, error.status, problem(error), *headers)


class EventStream:
    """An answer as server-sent events; it begins with the first event, so that an early error has its own status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def event(self, data_json: bytes, name: bytes = b"") -> None:
        """Send one event. `data_json` is one line; a slow reader makes this wait."""
        if not self.begun:
            self.begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        head = b"event: " + name + b"\n" if name else b""
        await self._body(head + b"data: " + data_json + b"\n\n", more=True)

    async def end(self) -> None:
        """Close the stream."""
        await self._body(b"", more=False)

    async def _body(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class Departure:
    """Notices that a caller has gone, for calls that last: watching costs a task, so short calls are spared it.

    `lasting` is called when the call turns out to last.
    """

    def __init__(self, receive: Receive, after_seconds: float, lasting: Callable[[], None]) -> None:
        self._receive = receive
        self._lasting = lasting
        self._watch: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(after_seconds, self._begin)
        self._on_gone: Callable[[], None] | None = None
        self.gone = False

    def tell(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` when the caller has gone, at once if it has."""
        self._on_gone = on_gone
        if self.gone:
            on_gone()

    @property
    def lasted(self) -> bool:
        """Say whether the call was long enough to be watched."""
        return self._watch is not None

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait(), name="departure")
        self._lasting()

    async def _wait(self) -> None:
        # The body has been read, so whatever else comes is no business of ours until the connection is closed.
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self.gone = True
        if self._on_gone is not None:
            self._on_gone()
