"""A voice backend: text-to-speech, a chat by Ollama, and speech-to-text where it is installed.

    uvicorn --app-dir examples/voice_backend backend:app

Environment: `OLLAMA_HOST` (127.0.0.1:11434), `VOICE_CHAT_MODEL` (llama3.2), `VOICE_STT_MODEL` (tiny.en, or a folder),
`VOICE_CHECK_SECONDS` (5), `VOICE_TOKEN` (none: warm-up and retry only from this machine).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

from chat import ChatError, Message, OllamaChat, server_url
from fastapi import Body, FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from hearing import load_ear
from speech import Voice, load_voice

from glowplug import InvalidInput, LoadContext, Readiness

PAGES = Path(__file__).parents[1] / "conversation"
CHAT_MODEL = os.environ.get("VOICE_CHAT_MODEL", "llama3.2")
CHAT_URL = server_url(os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434")
CHECK_SECONDS = float(os.environ.get("VOICE_CHECK_SECONDS", "5"))
STT_MODEL = os.environ.get("VOICE_STT_MODEL", "tiny.en")

Words = Annotated[str, Body(embed=True, min_length=1, max_length=2000)]

ready = Readiness(token=os.environ.get("VOICE_TOKEN"))


def say_hello(voice: Voice) -> None:
    voice.wav("Hello.")


async def load_chat(ctx: LoadContext) -> OllamaChat:
    chat = OllamaChat(CHAT_URL, CHAT_MODEL)
    with ctx.stage("connect"):
        await chat.ping()
    with ctx.stage("read"):
        await chat.open()
    return chat


async def greet(chat: OllamaChat) -> None:
    async for _ in chat.say([{"role": "user", "content": "Hello"}]):
        pass


ready.add("tts", load_voice, warm_up=say_hello, model="hibari")
ready.add(
    "chat",
    load_chat,
    warm_up=greet,
    model=CHAT_MODEL,
    gates="start",  # a server of its own: it may go and come back while this backend stays up
    check=OllamaChat.ping,
    check_every=CHECK_SECONDS,
)
ready.add("stt", load_ear, required=False, model="whisper", options={"model": STT_MODEL})

app = FastAPI(title="Voice backend", lifespan=ready.lifespan)
app.include_router(ready.router())


async def reply(messages: Sequence[Message]) -> AsyncIterator[str]:
    async for piece in ready["chat"].say(messages):
        yield piece


async def speak(text: str) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(ready["tts"].wav, text)


async def transcribe(audio: bytes, media_type: str) -> str:
    ear = ready["stt"]
    try:
        return str(await asyncio.to_thread(ear.transcribe, audio))
    except Exception as error:
        raise InvalidInput(f"this is no {media_type} that can be read; send a WAV file") from error


app.include_router(ready.conversation(reply=reply, speak=speak, transcribe=transcribe))


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    return FileResponse(PAGES / "index.html")


@app.get("/talk.js", include_in_schema=False)
def script() -> FileResponse:
    return FileResponse(PAGES / "talk.js", media_type="text/javascript")


@app.post("/api/speech", dependencies=[ready.require("tts")], response_class=Response)
def speech(text: Words) -> Response:
    return Response(ready["tts"].wav(text), media_type="audio/wav")


@app.post("/api/chat", dependencies=[ready.require("chat")])
async def chat(text: Words) -> dict[str, str]:
    try:
        return {"reply": "".join([piece async for piece in ready["chat"].say([{"role": "user", "content": text}])])}
    except ChatError as error:
        raise HTTPException(502, str(error)) from error
