"""A server that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import httpx
from httpx_sse import EventSource

from glowplug.errors import DeadlineExceeded, GlowplugError, RemoteError, SettingsError
from glowplug.workloads.chat import faults
from glowplug.workloads.chat.background import Background
from glowplug.workloads.chat.engine import Chunk, Told
from glowplug.workloads.chat.options import ServerOptions
from glowplug.workloads.chat.reply import Reply, shown
from glowplug.workloads.chat.values import Message, Order

CONNECT_SECONDS = 5.0
CHECK_SECONDS = 10.0
LONGEST_EVENT = 1_000_000
MOST_PIECES = 400_000
"""Of a reply: three times the tokens that may be asked for. They wait here for a caller who reads slowly."""
LARGEST_BODY_BYTES = 4_000_000
DONE = "[DONE]"


class ServerEngine:
    """Sends orders to the server; replies are read in a loop of its own, so that one can be broken off at any time."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._background = Background("glowplug-chat")
        self._client: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        """Return what to call the server in messages."""
        return self._options.name

    def open(self) -> None:
        """Choose the model, and let the server bring it into memory with a reply of one word.

        Raises:
            SettingsError: it has no such model, or does not take the key.
            Unreachable: it does not answer.
        """
        options = self._options
        self._background.start()
        self._client = httpx.AsyncClient(
            base_url=options.url,
            headers={"authorization": f"Bearer {options.key}"} if options.key else {},
            # Silence is measured by pieces of a reply, not by bytes: some servers send signs of life meanwhile.
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None),
            trust_env=not options.near,
        )
        try:
            self._options = self._background.submit(self._with_model()).result()
            self._background.submit(self._wake()).result()
        except GlowplugError as error:
            self.close()
            raise faults.at_load(error) from error

    def begin(self, order: Order, tell: Callable[[Told], None]) -> Callable[[], object]:
        """Begin to answer; the stop closes the connection, which tells the server to stop too."""
        return self._background.submit(self._answer(order, tell)).cancel

    def check(self) -> None:
        """Raise if the server does not answer."""
        self._background.submit(self._models(CHECK_SECONDS)).result()

    def close(self) -> None:
        """Break off what is under way and close the connections."""
        client, self._client = self._client, None
        if client is not None:
            self._background.submit(client.aclose()).result()
        self._background.close()

    async def _with_model(self) -> ServerOptions:
        options, names = self._options, await self._models(self._options.silence_seconds)
        if not options.model:
            if len(names) != 1:
                some = ", ".join(names[:10]) or "none: ollama pull NAME"
                raise SettingsError(f"set option model to one of those that {options.name} has: {some}")
            return replace(options, model=names[0])
        if not {options.model, f"{options.model}:latest"} & set(names):
            some = f"it has {', '.join(names[:10])}" if names else "it has none"
            raise SettingsError(faults.missing_model(options, some))
        return options

    async def _models(self, seconds: float) -> list[str]:
        try:
            async with asyncio.timeout(seconds), self._sent("GET", "/models") as response:
                told = json.loads(await _body(response))
                return [str(model["id"]) for model in told["data"] or ()]
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} has been silent for {seconds:g} seconds") from error
        except (LookupError, TypeError, ValueError) as error:
            raise RemoteError(f"{self.name} does not list its models as OpenAI's protocol has it") from error
        except Exception as error:
            raise faults.of_exception(self._options, error) from error

    async def _wake(self) -> None:
        reply = Reply(self.name)
        try:
            await self._stream(Order([Message("user", "Hello")], 1), reply.take)
        except Exception as error:
            raise faults.of_exception(self._options, error) from error
        reply.ending()

    async def _answer(self, order: Order, tell: Callable[[Told], None]) -> None:
        try:
            await self._stream(order, tell)
        except Exception as error:  # noqa: BLE001 - the thread that waits must hear of it
            tell(faults.of_exception(self._options, error))
        else:
            tell(None)

    async def _stream(self, order: Order, take: Callable[[Chunk], object]) -> None:
        body, seconds = order.body(self._options.model), self._options.silence_seconds
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(seconds) as silence, self._sent("POST", "/chat/completions", json=body) as response:
            bounded, count = Bounded(response), 0
            async for event in EventSource(cast("httpx.Response", bounded)).aiter_sse():
                if event.data == DONE:
                    return
                bounded.length, count = 0, count + 1
                if count > MOST_PIECES:
                    raise RemoteError(f"{self.name} does not end its reply: {count} pieces")
                take(self._chunk(event.data))
                silence.reschedule(now() + seconds)

    def _chunk(self, data: str) -> Chunk:
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise RemoteError(f"{self.name} sent what is no piece of a reply: {shown(data)}")
        return told

    @asynccontextmanager
    async def _sent(self, method: str, path: str, json: object = None) -> AsyncIterator[httpx.Response]:
        assert self._client is not None
        async with self._client.stream(method, path, json=json) as response:
            if response.status_code != httpx.codes.OK:
                body = (await _body(response)).decode(errors="replace")
                raise faults.of_answer(self._options, response.status_code, response.headers, body)
            yield response


class Bounded:
    """A response that is not read on when an event of it does not end; `length` is what was read since the last."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers = response.headers
        self.length = 0

    async def aiter_text(self) -> AsyncIterator[str]:
        """Give the text as it comes."""
        async for text in self._response.aiter_text():
            self.length += len(text)
            if self.length > LONGEST_EVENT:
                raise RemoteError(f"an event of more than {LONGEST_EVENT} characters")
            yield text


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > LARGEST_BODY_BYTES:
            raise RemoteError(f"an answer of more than {LARGEST_BODY_BYTES} bytes")
    return bytes(body)
