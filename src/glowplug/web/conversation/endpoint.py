"""The WebSockets of conversations: who may talk, whether anybody is there to answer, and how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from glowplug.clock import Clock, SystemClock
from glowplug.errors import GlowplugError, NotReady
from glowplug.events import emit
from glowplug.web.conversation.conversation import Conversation, Idle
from glowplug.web.conversation.parts import ConversationLimits, Engines
from glowplug.web.conversation.wire import Gone
from glowplug.web.parts import Permit

CONVERSATION, TEST = "/ws/conversation", "/ws/test"
GOING_AWAY, REFUSED, TRY_AGAIN_LATER = 1001, 1008, 1013
REASON_BYTES = 120
"""What a close frame has room for is 123."""

EnginesOf = Callable[[WebSocket], Awaitable[Engines]]


class Conversations:
    """The endpoints. `engines_of` gives a caller's engines, or raises: `NotReady` closes with 1013, the rest with 1008.

    `instructions` are what the chat is told before anything else.
    """

    def __init__(
        self,
        engines_of: EnginesOf,
        permit: Permit,
        limits: ConversationLimits | None = None,
        instructions: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._engines_of = engines_of
        self._permit = permit
        self._limits = limits or ConversationLimits()
        self._instructions = instructions
        self._clock = clock or SystemClock()
        self._open = 0

    def routes(self, prefix: str = "") -> list[BaseRoute]:
        """Return the routes for Starlette."""
        return [
            WebSocketRoute(prefix + CONVERSATION, self.talk, name="conversation"),
            WebSocketRoute(prefix + TEST, self.echo, name="test"),
        ]

    async def talk(self, websocket: WebSocket) -> None:
        """Talk with a client until it leaves."""
        try:
            self._permit(websocket)
        except GlowplugError as error:
            await websocket.close(REFUSED, reason(error.code))
            return
        # Accepted in any case: a page is told why only by the close of an open socket.
        await websocket.accept(next(iter(websocket.scope.get("subprotocols", ())), None))
        try:
            engines = await self._engines(websocket)
        except GlowplugError as error:
            code = TRY_AGAIN_LATER if isinstance(error, NotReady) else REFUSED
            await _close(websocket, code, error.message)
            return
        try:
            await self._hold(websocket, engines)
        finally:
            self._open -= 1

    async def echo(self, websocket: WebSocket) -> None:
        """Say back what comes, to try whether WebSockets get through."""
        await websocket.accept(next(iter(websocket.scope.get("subprotocols", ())), None))
        # Time that runs out is an OSError too; the last is what a server says of a socket that it has closed.
        with suppress(WebSocketDisconnect, OSError, RuntimeError):
            while await self._said_back(websocket):
                continue

    async def _said_back(self, websocket: WebSocket) -> bool:
        async with asyncio.timeout(self._limits.idle_seconds):
            frame = await websocket.receive()
            if frame["type"] == "websocket.disconnect":
                return False
            await websocket.send({**frame, "type": "websocket.send"})
            return True

    async def _engines(self, websocket: WebSocket) -> Engines:
        """Return a caller's engines, who counts from now on."""
        if self._open >= self._limits.conversations:
            raise NotReady(f"{self._open} conversations are held already; try again later")
        # Before they are looked up: of many who come meanwhile, all would be let in.
        self._open += 1
        try:
            return await self._engines_of(websocket)
        except BaseException:
            self._open -= 1
            raise

    async def _hold(self, websocket: WebSocket, engines: Engines) -> None:
        began, why, turns = self._clock.monotonic(), "left", 0
        conversation = Conversation(websocket, engines, self._limits, self._instructions)
        try:
            turns = await conversation.run()
        except Gone as gone:
            why = str(gone)
            await _close(websocket, REFUSED, why)
        except Idle:
            why = "idle"
            await _close(websocket, GOING_AWAY, f"nothing was said for {self._limits.idle_seconds:g} s")
        finally:
            emit("conversation.ended", reason=why, turns=turns, seconds=self._clock.monotonic() - began)


def reason(text: str) -> str:
    """Return `text` as far as a close frame has room for it."""
    return text.encode()[:REASON_BYTES].decode(errors="ignore")


async def _close(websocket: WebSocket, code: int, why: str) -> None:
    """Close, if there is still somebody to close it for."""
    with suppress(WebSocketDisconnect, OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(1.0):
            await websocket.close(code, reason(why))
