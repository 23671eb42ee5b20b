"""One client's conversation: frames come in, and each new utterance stops the answer to the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message as Frame
from starlette.websockets import WebSocket

from glowplug.errors import GlowplugError, InvalidInput
from glowplug.lifecycle import cancel
from glowplug.web.conversation.history import History
from glowplug.web.conversation.parts import ConversationLimits, Engines
from glowplug.web.conversation.turn import Turn
from glowplug.web.conversation.utterance import Order, Recording, Utterance, read_order, text_of, whole_audio
from glowplug.web.conversation.wire import Wire


class Idle(Exception):
    """Nobody has said anything for a long time."""


class Conversation:
    """Talks with one client until it leaves."""

    def __init__(self, websocket: WebSocket, engines: Engines, limits: ConversationLimits, instructions: str) -> None:
        self._websocket = websocket
        self._engines = engines
        self._limits = limits
        self._wire = Wire(websocket, limits.send_seconds)
        self._history = History(instructions, limits.history_messages, limits.history_characters)
        self._recording: Recording | None = None
        self._receiving: asyncio.Task[Frame] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._turn: Turn | None = None
        self._turns = 0
        self._orders: dict[str, Callable[[Order], Awaitable[None]]] = {
            "text": self._text,
            "audio_start": self._audio_start,
            "audio_end": self._audio_end,
            "stop": self._stop,
            "reset": self._reset,
        }

    async def run(self) -> int:
        """Answer turn after turn until the client leaves; return how many. Raises `Gone`, `Idle`."""
        try:
            while (frame := await self._next())["type"] != "websocket.disconnect":
                try:
                    await self._take(frame)
                except GlowplugError as error:
                    await self._wire.refuse(error)
        finally:
            await cancel(self._answering)
            await cancel(self._receiving)
        return self._turns

    async def _next(self) -> Frame:
        """Return the client's next frame, and see to the answer that runs meanwhile."""
        while True:
            if self._receiving is None:
                self._receiving = asyncio.create_task(self._receive(), name="receiving")
            tasks = [task for task in (self._receiving, self._answering) if task is not None]
            done, _ = await asyncio.wait(tasks, timeout=self._limits.idle_seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._answering in done:
                answered, self._answering = self._answering, None
                answered.result()
            if self._receiving in done:
                received, self._receiving = self._receiving, None
                return received.result()
            if not done and self._answering is None:
                raise Idle

    async def _receive(self) -> Frame:
        return await self._websocket.receive()

    async def _take(self, frame: Frame) -> None:
        data = frame.get("bytes")
        if data is not None:
            await self._binary(data)
            return
        order = read_order(frame["text"], self._limits.text_characters)
        act = self._orders.get(order.type)
        if act is None:
            raise InvalidInput(f"no frame has the type {order.type[:40]!r}; there are: {', '.join(self._orders)}")
        await act(order)

    async def _binary(self, data: bytes) -> None:
        if self._recording is not None:
            self._recording.add(data)
        else:
            await self._answer(whole_audio(data, self._limits.audio_bytes))

    async def _text(self, order: Order) -> None:
        utterance = text_of(order, self._limits.text_characters)
        self._recording = None
        await self._answer(utterance)

    async def _audio_start(self, order: Order) -> None:
        self._recording = Recording.of(order, self._limits.audio_bytes)
        # Whoever begins to speak wants to be listened to.
        await self._interrupt()

    async def _audio_end(self, order: Order) -> None:
        del order
        recording, self._recording = self._recording, None
        if recording is None:
            raise InvalidInput("audio_end comes after audio_start")
        if not recording.is_dropped:
            await self._answer(recording.end())

    async def _stop(self, order: Order) -> None:
        del order
        self._recording = None
        await self._interrupt()

    async def _reset(self, order: Order) -> None:
        await self._stop(order)
        self._history.clear()
        await self._wire.tell("reset")

    async def _answer(self, utterance: Utterance) -> None:
        await self._interrupt()
        self._turns += 1
        self._turn = Turn(self._turns, self._engines, self._wire, self._history, self._limits)
        self._answering = asyncio.create_task(self._turn.run(utterance), name=f"turn {self._turns}")

    async def _interrupt(self) -> None:
        """Stop the answer that runs; its engines are closed when this returns."""
        answering, self._answering = self._answering, None
        if answering is None or self._turn is None:
            return
        # The end of a turn is told once: what is saying so already may finish.
        await (asyncio.wait([answering]) if self._turn.is_ending else cancel(answering))
        if answering.cancelled():
            await self._wire.tell("interrupted", turn=self._turn.number)
        else:
            answering.result()
