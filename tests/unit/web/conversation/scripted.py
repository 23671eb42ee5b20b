"""Engines that do as a test says, step by step, and a client that talks over a socket without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.websockets import WebSocket
from tests.unit.web.callers import BOUND_SECONDS, Reader

from glowplug.web.conversation.endpoint import CONVERSATION, Conversations
from glowplug.web.conversation.parts import ConversationLimits, Engines, Message, Sound
from glowplug.web.permission import anyone

HOLD = "<hold>"
"""A piece of a script: the engine waits here until it is let go, or closed."""
Step = str | Exception


class Script:
    """Says its steps one after the other; remembers what it was asked, and whether it was stopped."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[list[Message]] = []
        self.said: list[str] = []
        self.running = 0
        self.stopped = 0
        self.holding = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        self.asked.append(list(messages))
        self.running += 1
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if step == HOLD:
                    self.holding.set()
                    await self.let_go.wait()
                else:
                    yield step
                    self.said.append(step)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise
        finally:
            self.running -= 1


class Voice:
    """Speaks a sentence as its own letters; fails or waits at sentences that it is told of."""

    def __init__(self, fails_at: str = "", holds_at: str = "", error: Exception | None = None) -> None:
        self.spoken: list[str] = []
        self.stopped = 0
        self._fails_at = fails_at
        self._holds_at = holds_at
        self._error = error or RuntimeError("no breath")
        self.holding = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, text: str) -> AsyncIterator[Sound]:
        if self._fails_at and self._fails_at in text:
            raise self._error
        try:
            if self._holds_at and self._holds_at in text:
                self.holding.set()
                await self.let_go.wait()
            self.spoken.append(text)
            yield Sound(text.encode(), "wav", 8000)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise


class Ear:
    """Hears what a test says; keeps what it was played."""

    def __init__(self, heard: str | Exception = "hello", *, holds: bool = False) -> None:
        self.played: list[tuple[bytes, str]] = []
        self._heard = heard
        self._holds = holds
        self.holding = asyncio.Event()
        self.stopped = 0

    async def __call__(self, audio: bytes, media_type: str) -> str:
        self.played.append((audio, media_type))
        try:
            if self._holds:
                self.holding.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if isinstance(self._heard, Exception):
            raise self._heard
        return self._heard


class Client(Reader):
    """A client of a conversation."""

    def tell(self, kind: str, **fields: Any) -> None:
        """Send a frame of JSON."""
        self.say({"type": "websocket.receive", "text": json.dumps({"type": kind, **fields})})

    def send(self, data: bytes | str) -> None:
        """Send a frame as it is."""
        kind = "text" if isinstance(data, str) else "bytes"
        self.say({"type": "websocket.receive", kind: data})

    async def frame(self) -> dict[str, Any]:
        """Return the next frame; a sound comes with its bytes as `data`."""
        told = await self.text()
        if told["type"] == "audio":
            told["data"] = (await self.next())["bytes"]
        return told

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the frames up to the first of one of `kinds`, that one too."""
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(BOUND_SECONDS):
            while not frames or frames[-1]["type"] not in kinds:
                frames.append(await self.frame())
        return frames

    async def turn(self, text: str) -> list[dict[str, Any]]:
        """Say something and return all frames of the answer."""
        self.tell("text", text=text)
        return await self.until("reply_done")

    async def closed(self) -> tuple[int, str]:
        """Return the code and the reason with which the application closes."""
        while (message := await self.next())["type"] != "websocket.close":
            continue
        return message["code"], message.get("reason", "")


def application(
    reply: Script,
    voice: Voice | None = None,
    ear: Ear | None = None,
    *,
    instructions: str = "",
    **limits: Any,
) -> Starlette:
    """Return an application with a conversation over these engines."""
    engines = Engines(reply=reply, speak=voice or Voice(), transcribe=ear)

    async def engines_of(websocket: WebSocket) -> Engines:
        del websocket
        return engines

    talks = Conversations(engines_of, anyone(), ConversationLimits(**limits), instructions)
    return Starlette(routes=talks.routes())


@asynccontextmanager
async def talking(app: Starlette) -> AsyncIterator[Client]:
    """Yield a client whose conversation has begun."""
    async with Client(app, CONVERSATION, kind="websocket") as client:
        assert (await client.next())["type"] == "websocket.accept"
        yield client


def kinds(frames: Sequence[dict[str, Any]]) -> list[str]:
    """Return the types of frames, in order."""
    return [frame["type"] for frame in frames]


def written(frames: Sequence[dict[str, Any]]) -> str:
    """Return the reply as it was written."""
    return "".join(frame["text"] for frame in frames if frame["type"] == "reply_delta")


def spoken(frames: Sequence[dict[str, Any]]) -> list[str]:
    """Return the sentences that were spoken."""
    return [frame["sentence"] for frame in frames if frame["type"] == "audio"]
