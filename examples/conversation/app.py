"""A backend to talk with: Glowplug's own models behind a WebSocket of this app, each in a process of its own.

    uvicorn --app-dir examples/conversation app:app

Environment: `TALK_CHAT` (options of the chat model, as "name=value name=value"), `TALK_STT` (those of the ear).
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from glowplug import Readiness
from glowplug.web.conversation.parts import Message
from glowplug.workloads.chat.model import Chat
from glowplug.workloads.speech.stt import Stt
from glowplug.workloads.speech.tts import Tts

HERE = Path(__file__).parent


def options(name: str) -> dict[str, str]:
    """Return the options in an environment variable."""
    return dict(word.split("=", 1) for word in os.environ.get(name, "").split())


ready = Readiness()
ready.add("tts", Tts, isolate=True)
ready.add("chat", Chat, isolate=True, options=options("TALK_CHAT"))
ready.add("stt", Stt, isolate=True, options=options("TALK_STT"), required=False)


async def reply(messages: Sequence[Message]) -> AsyncIterator[str]:
    async for value in ready["chat"].stream("reply", messages=list(messages)):
        yield value["text"]


async def speak(text: str) -> AsyncIterator[bytes]:
    yield b"".join([b64decode(piece["audio"]) async for piece in ready["tts"].stream("speak", text=text)])


async def transcribe(audio: bytes, media_type: str) -> str:
    heard: dict[str, Any] = await ready["stt"].run("transcribe", audio=audio)
    return str(heard["text"])


app = FastAPI(title="Talk", lifespan=ready.lifespan)
app.include_router(ready.router())
app.include_router(ready.conversation(reply=reply, speak=speak, transcribe=transcribe, instructions="Answer briefly."))


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    return FileResponse(HERE / "index.html")


@app.get("/talk.js", include_in_schema=False)
def script() -> FileResponse:
    return FileResponse(HERE / "talk.js", media_type="text/javascript")
