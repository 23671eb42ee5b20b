"""Conversations in an application, over a real server: open when its components are ready, and to whom it should be."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from tests.unit.gateway.served import serving, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from glowplug import Readiness
from glowplug.errors import SettingsError
from glowplug.web.conversation.parts import ConversationLimits, Message
from glowplug.web.permission import anyone

WAV = b"RIFF" + bytes(20) + (8000).to_bytes(4, "little") + bytes(20)


async def reply(messages: Sequence[Message]) -> AsyncIterator[str]:
    yield f"You said {messages[-1]['content']}."


async def speak(text: str) -> AsyncIterator[bytes]:
    yield WAV + text.encode()


@asynccontextmanager
async def talkative(**options: Any) -> AsyncIterator[tuple[str, Readiness, asyncio.Event]]:
    """Serve an application whose chat is loaded once the event is set; yield its address too."""
    ready = Readiness(token=options.pop("token", None))
    loaded = asyncio.Event()
    ready.add("tts", lambda ctx: "voice")
    ready.add("chat", loaded.wait)
    app = FastAPI()
    app.include_router(ready.router())
    app.include_router(ready.conversation(**{"reply": reply, "speak": speak, **options}))
    async with app.router.lifespan_context(app), serving(app) as url:
        yield url.replace("http", "ws"), ready, loaded


async def turn(socket: ClientConnection, text: str) -> list[Any]:
    await socket.send(json.dumps({"type": "text", "text": text}))
    frames: list[Any] = []
    async with asyncio.timeout(20):
        while not frames or not isinstance(frames[-1], dict) or frames[-1]["type"] != "reply_done":
            frame = await socket.recv()
            frames.append(json.loads(frame) if isinstance(frame, str) else frame)
    return frames


async def test_it_says_come_later_until_its_components_are_ready_and_then_it_talks() -> None:
    async with talkative() as (url, ready, loaded):
        async with connect(f"{url}/ws/conversation") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert closed.value.rcvd.reason
        loaded.set()
        await ready.wait_until_ready(timeout=20)
        async with connect(f"{url}/ws/conversation") as socket:
            frames = await turn(socket, "hello")
    audio = {"type": "audio", "turn": 1, "sentence": "You said hello.", "format": "wav", "sample_rate": 8000}
    assert frames == [
        {"type": "transcript", "turn": 1, "text": "hello"},
        {"type": "reply_delta", "turn": 1, "text": "You said hello."},
        audio,
        WAV + b"You said hello.",
        {"type": "reply_done", "turn": 1},
    ]


async def test_the_test_socket_works_while_everything_loads() -> None:
    async with talkative() as (url, _, _), connect(f"{url}/ws/test") as socket:
        for said in ("anybody?", b"\0\1"):
            await socket.send(said)
            assert await socket.recv() == said


async def test_pages_of_other_sites_are_refused_and_its_own_are_not() -> None:
    async with talkative() as (url, _, loaded):
        loaded.set()
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"{url}/ws/conversation", origin=Origin("https://elsewhere.example"))
        async with connect(f"{url}/ws/conversation", origin=Origin(url.replace("ws", "http"))):
            pass


async def test_where_there_is_a_token_it_has_to_be_shown() -> None:
    async with talkative(token="secret") as (url, _, _):
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"{url}/ws/conversation")
        async with connect(f"{url}/ws/conversation", additional_headers={"Authorization": "Bearer secret"}):
            pass


async def test_an_application_may_decide_itself_who_talks() -> None:
    elsewhere = Origin("https://elsewhere.example")
    async with talkative(permit=anyone(), prefix="/speech") as (url, _, _):
        socket = await connect(f"{url}/speech/ws/conversation", origin=elsewhere)
        await socket.close()


async def test_a_client_that_reads_nothing_is_let_go_and_its_model_stopped() -> None:
    said, stopped = 0, asyncio.Event()

    async def endless(messages: Sequence[Message]) -> AsyncIterator[str]:
        nonlocal said
        try:
            while True:
                said += 1
                # Servers compress what repeats itself.
                yield os.urandom(50_000).hex()
        finally:
            stopped.set()

    limits = ConversationLimits(send_seconds=0.3, reply_characters=10**9)
    async with talkative(reply=endless, limits=limits) as (url, ready, loaded):
        loaded.set()
        await ready.wait_until_ready(timeout=20)
        socket = await connect(f"{url}/ws/conversation", max_queue=1)
        await socket.send('{"type": "text", "text": "go"}')
        async with asyncio.timeout(20):
            await stopped.wait()
        # What fits into the buffers of the network, and no more.
        assert said < 1000
        socket.transport.abort()


async def test_a_server_that_stops_waits_for_no_conversation() -> None:
    stopped = asyncio.Event()

    async def waits(messages: Sequence[Message]) -> AsyncIterator[str]:
        try:
            yield "Well, "
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with talkative(reply=waits) as (url, ready, loaded):
        loaded.set()
        await ready.wait_until_ready(timeout=20)
        socket = await connect(f"{url}/ws/conversation")
        await socket.send('{"type": "text", "text": "go"}')
        assert json.loads(await socket.recv())["type"] == "transcript"
    await until(stopped.is_set)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"speak": speak}, "reply"),
        ({"reply": reply, "speak": "espeak"}, "speak is a function"),
        ({"reply": reply, "speak": speak, "needs": "chat"}, "several names"),
        ({"reply": reply, "speak": speak, "hear": reply}, "no option 'hear'"),
        ({"reply": turn, "speak": speak}, "yields"),
    ],
)
def test_what_cannot_be_a_conversation_is_refused_where_it_is_said(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Readiness().conversation(**options)


async def test_a_component_that_does_not_exist_is_told_when_the_application_starts() -> None:
    ready = Readiness()
    ready.add("tts", lambda ctx: "voice")
    ready.conversation(reply=reply, speak=speak)
    with pytest.raises(SettingsError, match="chat"):
        await ready.start()
