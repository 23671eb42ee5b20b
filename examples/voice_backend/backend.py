"""A voice backend: text-to-speech, a chat by Ollama, and speech-to-text where it is installed.

    uvicorn --app-dir examples/voice_backend backend:app

Environment: `OLLAMA_HOST` (127.0.0.1:11434), `VOICE_CHAT_MODEL` (llama3.2), `VOICE_STT_MODEL` (tiny.en, or a folder),
`VOICE_CHECK_SECONDS` (5), `VOICE_TOKEN` (none: warm-up and retry only from this machine).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from chat import ChatError, OllamaChat, server_url
from conversation import Conversation, same_origin
from fastapi import Body, Depends, FastAPI, HTTPException, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from hearing import load_ear
from speech import Voice, load_voice

from glowplug import LoadContext, Readiness

PAGE = Path(__file__).with_name("index.html")
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


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    return FileResponse(PAGE)


@app.post("/api/speech", dependencies=[ready.require("tts")], response_class=Response)
def speech(text: Words) -> Response:
    return Response(ready["tts"].wav(text), media_type="audio/wav")


@app.post("/api/chat", dependencies=[ready.require("chat")])
async def chat(text: Words) -> dict[str, str]:
    try:
        return {"reply": "".join([piece async for piece in ready["chat"].say([{"role": "user", "content": text}])])}
    except ChatError as error:
        raise HTTPException(502, str(error)) from error


@app.websocket("/ws/conversation", dependencies=[Depends(same_origin), ready.require("tts", "chat")])
async def conversation(websocket: WebSocket) -> None:
    await websocket.accept()
    ear = ready["stt"] if ready.is_ready("stt") else None
    await Conversation(websocket, ready["tts"], ready["chat"], ear).run()


@app.websocket("/ws/test")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass
