"""The client's side of a conversation: frames go out one at a time, and nothing waits for who does not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from glowplug.errors import GlowplugError
from glowplug.web.conversation.parts import AnySound


class Gone(Exception):
    """The client has left, or reads too slowly to be kept."""


class Wire:
    """Sends frames. There is no queue: whoever speaks faster than the client reads waits, and so does its model."""

    def __init__(self, websocket: WebSocket, send_seconds: float) -> None:
        self._websocket = websocket
        self._send_seconds = send_seconds
        self._turn = asyncio.Lock()

    async def tell(self, kind: str, **fields: Any) -> None:
        """Send a frame of JSON. Raises `Gone`."""
        await self._send([_json(kind, fields)])

    async def play(self, turn: int, sentence: str, sound: AnySound) -> None:
        """Send a sound: a frame that announces it, and the bytes. Raises `Gone`."""
        about = {"turn": turn, "sentence": sentence, "format": sound.format, "sample_rate": sound.sample_rate}
        await self._send([_json("audio", about), bytes(sound.data)])

    async def refuse(self, error: GlowplugError, **fields: Any) -> None:
        """Tell an error. Raises `Gone`."""
        await self.tell("error", code=error.code, message=error.message, **fields)

    async def _send(self, frames: Sequence[str | bytes]) -> None:
        sending = asyncio.ensure_future(self._all(frames))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            # An announcement is always followed by its sound, also when the reply is stopped between the two.
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()
            raise

    async def _all(self, frames: Sequence[str | bytes]) -> None:
        try:
            async with asyncio.timeout(self._send_seconds), self._turn:
                for frame in frames:
                    await self._one(frame)
        except TimeoutError as error:
            raise Gone(f"the client read nothing for {self._send_seconds:g} s") from error
        # The first two are what servers and Starlette say of a client who has left; the last, of a closed socket.
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            raise Gone("the client has left") from error

    async def _one(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            await self._websocket.send_text(frame)
        else:
            await self._websocket.send_bytes(frame)


def _json(kind: str, fields: dict[str, Any]) -> str:
    # What UTF-8 cannot hold stays escaped: a model may stop in the middle of a character.
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))
