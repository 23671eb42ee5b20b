"""Conversations over the models of this gateway: whichever serve chat, speech and transcripts."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from glowplug.errors import GlowplugError, InvalidInput, NotReady, TaskFailed
from glowplug.gateway.calls import Calls
from glowplug.gateway.catalog import model_of
from glowplug.gateway.offers import Offers
from glowplug.gateway.openai.audio import piece
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import Subject, subject_of
from glowplug.gateway.talk import Spoken, Talk
from glowplug.store import TaskInfo

CHAT, SPEECH, TRANSCRIPTS = "chat/completions", "audio/speech", "audio/transcriptions"
SERVICES = {"chat": CHAT, "tts": SPEECH, "stt": TRANSCRIPTS}
REQUIRED = ("tts", "chat")
PCM = "pcm"
FORMATS = ("wav", PCM, "mp3", "opus", "flac", "aac")
SENTENCE_BYTES = 32 * 1024 * 1024
LONGEST_VALUE = 200


def conversation_routes(gateway: Gateway) -> Sequence[BaseRoute]:
    """Return the routes, as whoever made the gateway wants them."""
    return gateway.parts.conversations(Talking(gateway).begin)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller's address asks for: models by name, and how they shall speak and listen."""

    models: Mapping[str, str]
    format: str
    voice: str
    language: str

    @classmethod
    def of(cls, connection: HTTPConnection) -> Wish:
        """Read the query. Raises `InvalidInput`."""
        query = connection.query_params
        if too_long := [name for name, value in query.items() if len(value) > LONGEST_VALUE]:
            raise InvalidInput(f"{too_long[0][:40]!r} in the address is too long")
        form = query.get("format", "wav")
        if form not in FORMATS:
            raise InvalidInput(f"format is one of {', '.join(FORMATS)}")
        named = {service: query[service] for service in SERVICES if query.get(service)}
        return cls(named, form, query.get("voice", ""), query.get("language", ""))


class Talking:
    """Begins talks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._offers = Offers(gateway.catalog, gateway.registry, gateway.desk.load)
        self._calls = Calls(gateway, self._offers)

    async def begin(self, connection: HTTPConnection) -> Talk:
        """Return the functions for a caller. Raises as `Talks` says."""
        wish, subject = Wish.of(connection), subject_of(connection)
        for service in REQUIRED:
            self._offers.check_ready(model_of((await self._task(service, wish)).name))

        async def reply(messages: Sequence[Any]) -> AsyncIterator[str]:
            async with aclosing(self._values("chat", wish, {"messages": messages}, subject)) as values:
                async for value in values:
                    yield _text(value)

        async def transcribe(audio: bytes, media_type: str) -> str:
            return await self._transcript(audio, media_type, wish, subject)

        return Talk(reply, lambda text: self._spoken(text, wish, subject), transcribe)

    async def _task(self, service: str, wish: Wish) -> TaskInfo:
        """Return the task of the model that was named, else of the first that is ready, else of the first."""
        operation = SERVICES[service]
        if service in wish.models:
            return await self._offers.serving(operation, wish.models[service])
        names = self._offers.names(operation)
        if not names:
            raise NotReady(f"{service} is not ready: no model here serves {operation}", model=service)
        board = self._gateway.registry.board.snapshot()
        ready = [name for name in names if (one := board.find(model_of(name))) is not None and one.status.can_serve]
        return await self._offers.serving(operation, (ready or names)[0])

    async def _values(
        self, service: str, wish: Wish, given: Mapping[str, Any], subject: Subject
    ) -> AsyncGenerator[Any, None]:
        values = await self._calls.values(await self._task(service, wish), given, subject)
        try:
            async for value in values:
                yield value
        finally:
            # This lets go of the worker, and the model stops.
            await values.aclose()

    async def _spoken(self, text: str, wish: Wish, subject: Subject) -> AsyncIterator[Spoken]:
        """Yield a sentence: in one piece, but for raw samples, which can be played as they come."""
        given = {"text": text, "format": wish.format} | ({"voice": wish.voice} if wish.voice else {})
        file, rate = bytearray(), 0
        async with aclosing(self._values("tts", wish, given, subject)) as values:
            async for value in values:
                data, rate = piece(value), int(value.get("sample_rate") or rate)
                if wish.format == PCM:
                    yield Spoken(data, PCM, rate)
                    continue
                file += data
                if len(file) > SENTENCE_BYTES:
                    raise TaskFailed(f"a sentence became more than {SENTENCE_BYTES} bytes of sound")
        if file:
            yield Spoken(bytes(file), wish.format, rate)

    async def _transcript(self, audio: bytes, media_type: str, wish: Wish, subject: Subject) -> str:
        task = await self._task("stt", wish)
        self._offers.check_ready(model_of(task.name))
        name = f"speech.{media_type.partition('/')[2]}"
        artifact = await self._gateway.shelf.keep(f"inputs/{secrets.token_hex(8)}/{name}", audio, media_type)
        given = {"audio": artifact.uri} | ({"language": wish.language} if wish.language else {})
        try:
            heard = await self._calls.value(task, given, subject)
        finally:
            # Retention takes what cannot be deleted now; the words were heard all the same.
            with suppress(GlowplugError):
                await self._gateway.parts.artifacts.delete(artifact.key)
        return _text(heard)


def _text(value: Any) -> str:
    text = value.get("text") if isinstance(value, Mapping) else None
    if not isinstance(text, str):
        raise TaskFailed("the task gave a value without a text")
    return text
