"""A conversation over a WebSocket: words or speech in, words and speech out.

In: a text frame is what somebody says; a binary frame is a WAV file of it.
Out: JSON in text frames: `{"type": "transcript", "text"}`, `{"type": "reply", "text"}` for each piece of the answer,
`{"type": "error", "component", "message"}`, `{"type": "done"}` when a turn is over. Each sentence of the answer also
comes as a binary frame: a WAV file.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from chat import ChatError, Message, OllamaChat
from fastapi import WebSocket, WebSocketDisconnect, WebSocketException, status
from hearing import Ear
from speech import Voice, sentences

LONGEST_TEXT = 2000
LONGEST_AUDIO_BYTES = 4 << 20
REMEMBERED_MESSAGES = 20


class TurnError(Exception):
    """A turn that cannot be answered; the conversation goes on."""

    def __init__(self, component: str, message: str) -> None:
        super().__init__(message)
        self.body = {"type": "error", "component": component, "message": message}


class Conversation:
    """One caller's talk with the chat, spoken by the voice."""

    def __init__(self, websocket: WebSocket, voice: Voice, chat: OllamaChat, ear: Ear | None) -> None:
        self._websocket = websocket
        self._voice = voice
        self._chat = chat
        self._ear = ear
        self._said: list[Message] = []

    async def run(self) -> None:
        """Answer turn after turn until the caller leaves."""
        with suppress(WebSocketDisconnect):
            while True:
                frame = await self._websocket.receive()
                if frame["type"] == "websocket.disconnect":
                    return
                try:
                    await self._turn(frame.get("text"), frame.get("bytes"))
                except TurnError as error:
                    await self._websocket.send_json(error.body)
                await self._websocket.send_json({"type": "done"})

    async def _turn(self, text: str | None, audio: bytes | None) -> None:
        if text is None:
            text = await self._heard(audio or b"")
            await self._websocket.send_json({"type": "transcript", "text": text})
        text = text.strip()
        if not 0 < len(text) <= LONGEST_TEXT:
            raise TurnError("chat", f"say something of up to {LONGEST_TEXT} characters")
        asked: list[Message] = [*self._said, {"role": "user", "content": text}]
        answer = await self._answered(asked)
        self._said = [*asked, {"role": "assistant", "content": answer}][-REMEMBERED_MESSAGES:]

    async def _heard(self, audio: bytes) -> str:
        if self._ear is None:
            raise TurnError("stt", "speech is not understood here: faster-whisper is not installed; send text")
        if len(audio) > LONGEST_AUDIO_BYTES:
            raise TurnError("stt", f"too long: {LONGEST_AUDIO_BYTES >> 20} MiB of WAV at most")
        try:
            return await asyncio.to_thread(self._ear.transcribe, audio)
        except Exception as error:
            raise TurnError("stt", "this is no audio that can be read; send a WAV file") from error

    async def _answered(self, asked: list[Message]) -> str:
        """Pass the answer on as it is made, each sentence spoken as soon as it is whole; return all of it."""
        answer, unspoken = "", ""
        try:
            async for piece in self._chat.say(asked):
                await self._websocket.send_json({"type": "reply", "text": piece})
                answer += piece
                complete, unspoken = sentences(unspoken + piece)
                await self._speak(complete)
        except ChatError as error:
            raise TurnError("chat", str(error)) from error
        await self._speak([unspoken])
        return answer

    async def _speak(self, texts: list[str]) -> None:
        for text in texts:
            if wav := await asyncio.to_thread(self._voice.wav, text):
                await self._websocket.send_bytes(wav)


async def same_origin(websocket: WebSocket) -> Any:
    """Refuse a page of another site: browsers let any page open a socket to any address."""
    origin = websocket.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != websocket.headers.get("host"):
        raise WebSocketException(status.WS_1008_POLICY_VIOLATION, "open this from the backend's own page")
