"""Conversations: the web's engine over the gateway's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from glowplug.clock import Clock
from glowplug.gateway.talk import Talks
from glowplug.web.conversation.endpoint import Conversations
from glowplug.web.conversation.parts import ConversationLimits, Engines
from glowplug.web.permission import anyone

INSTRUCTIONS = "Your answers are read aloud: use short and plain sentences, without lists or markup."


def conversations_of(most: int, clock: Clock) -> Callable[[Talks], Sequence[BaseRoute]]:
    """Return what makes the gateway's routes of conversations, of which `most` are held at once."""

    def make(begin: Talks) -> Sequence[BaseRoute]:
        limits = ConversationLimits(conversations=most)

        async def engines_of(websocket: WebSocket) -> Engines:
            talk = await begin(websocket)
            return Engines(reply=talk.reply, speak=talk.speak, transcribe=talk.transcribe)

        # Whoever comes as far as the routes has passed the gateway's own guard.
        return Conversations(engines_of, anyone(), limits, INSTRUCTIONS, clock).routes()

    return make
