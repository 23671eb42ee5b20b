"""The page of the conversation over engines of one line each: `python -m tests.examples.talkative PORT`.

The ear takes any sound of some length for a beep, the voice beeps, and the chat comes to no end by itself, unless there
is `TALKATIVE_ENDS` in the environment.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import struct
import sys
import wave
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from glowplug import InvalidInput, Readiness
from glowplug.web.conversation.parts import Message

PAGES = Path(__file__).parents[2] / "examples" / "conversation"
RATE = 16_000

ready = Readiness()
ready.add("tts", lambda ctx: "beeps")
ready.add("chat", lambda ctx: "repeats")


async def reply(messages: Sequence[Message]) -> AsyncIterator[str]:
    """Repeat what was said."""
    yield f"You said {messages[-1]['content']}. "
    if "TALKATIVE_ENDS" not in os.environ:
        await asyncio.Event().wait()


async def speak(text: str) -> AsyncIterator[bytes]:
    """Beep once."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 6))) for i in range(RATE // 10)))
    yield file.getvalue()


async def transcribe(audio: bytes, media_type: str) -> str:
    """Hear a beep in anything that lasts."""
    with wave.open(io.BytesIO(audio)) as heard:
        seconds, loudest = heard.getnframes() / heard.getframerate(), max(heard.readframes(heard.getnframes()))
    if media_type != "audio/wav" or seconds < 0.1 or not loudest:
        raise InvalidInput(f"{seconds:.2f} s of {media_type}, at most {loudest} loud")
    return "a beep"


app = FastAPI(lifespan=ready.lifespan)
app.include_router(ready.router())
app.include_router(ready.conversation(reply=reply, speak=speak, transcribe=transcribe))
app.get("/")(lambda: FileResponse(PAGES / "index.html"))
app.get("/talk.js")(lambda: FileResponse(PAGES / "talk.js", media_type="text/javascript"))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
