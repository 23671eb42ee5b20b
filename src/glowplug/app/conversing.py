"""Conversations in an application: its own functions behind a WebSocket that waits for its components."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from starlette.websockets import WebSocket

from glowplug.app.mounting import Guest, GuestRequirement
from glowplug.errors import NotReady, SettingsError
from glowplug.web.conversation.endpoint import Conversations
from glowplug.web.conversation.parts import ConversationLimits, Engines, Reply, Speak, Transcribe
from glowplug.web.parts import Permit
from glowplug.web.permission import local_only
from glowplug.web.require import NotReadyAnswer

if TYPE_CHECKING:
    from fastapi import APIRouter

NEEDS = ("tts", "chat")


class ConversationWords(TypedDict, total=False):
    """The keywords of `Readiness.conversation`; see `ConversationOptions`."""

    reply: Reply
    speak: Speak
    transcribe: Transcribe | None
    needs: tuple[str, ...]
    instructions: str
    prefix: str
    permit: Permit | None
    limits: ConversationLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationOptions:
    """What a conversation is made of.

    `reply` yields the answer to a list of messages in pieces, `speak` the sounds of a sentence, and `transcribe`
    returns the words in audio; without it, only text is understood. Until the components `needs` are ready, a caller is
    told to come later. `instructions` are the chat's first message. `permit` decides who may talk, by default who may
    start a warm-up: programs and pages of this machine, or whoever shows the token of the `Readiness`.
    """

    reply: Reply
    speak: Speak
    transcribe: Transcribe | None = None
    needs: tuple[str, ...] = NEEDS
    instructions: str = ""
    prefix: str = ""
    permit: Permit | None = None
    limits: ConversationLimits = ConversationLimits()

    def __post_init__(self) -> None:
        needs: Any = self.needs
        if isinstance(needs, str):
            raise SettingsError(f'conversation: needs is several names: needs=("{needs}",)')
        for name in ("reply", "speak"):
            if not callable(getattr(self, name)) or inspect.iscoroutinefunction(getattr(self, name)):
                raise SettingsError(f"conversation: {name} is a function that yields: async def {name}(…)")


def conversation_router(guest: Guest, options: ConversationOptions) -> APIRouter:
    """Return the routes for FastAPI."""
    from fastapi import APIRouter

    requirement = GuestRequirement(guest, options.needs)
    engines = Engines(reply=options.reply, speak=options.speak, transcribe=options.transcribe)

    async def engines_of(websocket: WebSocket) -> Engines:
        try:
            requirement.check(websocket)
        except NotReadyAnswer as early:
            raise NotReady(early.detail) from early
        return engines

    conversations = Conversations(
        engines_of,
        options.permit or local_only(guest.options.token),
        options.limits,
        options.instructions,
        guest.options.clock,
    )
    return APIRouter(routes=conversations.routes(options.prefix))
