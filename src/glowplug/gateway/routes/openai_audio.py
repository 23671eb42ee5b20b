"""OpenAI's routes of audio: speech as it is made, and transcripts of recordings."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.errors import GlowplugError
from glowplug.gateway import bodies, dialects
from glowplug.gateway.calls import Calls, Values, renamed
from glowplug.gateway.departure import CLIENT_CLOSED_REQUEST, while_present
from glowplug.gateway.documents import FORM, described
from glowplug.gateway.forms import Form, Lent, read_form
from glowplug.gateway.openai import audio
from glowplug.gateway.openai.parameters import number, wrong
from glowplug.gateway.openai.shapes import OpenAIError, SpeechRequest, TranscriptionForm, TranscriptionRequest
from glowplug.gateway.service import Gateway
from glowplug.gateway.streamed import Events, Streamed, event
from glowplug.gateway.subjects import subject_of


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["openai"])
    calls, limits = Calls.of(gateway), gateway.policy.limits

    @routes.post("/v1/audio/speech", **described(SpeechRequest, {200: None}, error=OpenAIError))
    async def speak(request: Request) -> Response:
        """Speak a text, by a model that serves `audio/speech`; the bytes come as they are made."""
        wish, body = await bodies.read_object(request, SpeechRequest, limits.call_bytes)
        task = await calls.offers.serving("audio/speech", wish.model)
        with renamed(audio.SPEECH_NAMES):
            given = audio.spoken(task, wish, body)
            values = await while_present(request, calls.values(task, given, subject_of(request)))
        if values is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        if wish.stream_format == "sse":
            return Events(_events(values), values)
        return Streamed(_bytes(values), values, audio.MEDIA_TYPES[audio.speech_format(task, wish)])

    @routes.post("/v1/audio/transcriptions", **described(TranscriptionForm, {200: None}, takes=FORM, error=OpenAIError))
    async def transcribe(request: Request) -> Response:
        """Write down what is said in a recording, by a model that serves `audio/transcriptions`."""
        async with read_form(request, gateway) as form:
            wish = bodies.converted(TranscriptionRequest, _plain(form))
            task = await calls.offers.serving("audio/transcriptions", wish.model)
            files = form.files.get("file", [])
            if len(files) != 1:
                raise wrong("file", "one recording is needed, as a file of the form")
            subject = subject_of(request)
            with renamed(audio.TRANSCRIPTION_NAMES):
                given = audio.heard(task, wish, form.texts)
                async with Lent(gateway, subject) as lent:
                    given["audio"] = await lent.add(files[0], "file")
                    result = await while_present(request, calls.value(task, given, subject))
        if result is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        told, media_type = audio.transcript(wish, result)
        if isinstance(told, str):
            return Response(told, media_type=media_type)
        return bodies.answer(told)

    return routes


def _plain(form: Form) -> dict[str, Any]:
    said = dict(form.texts)
    granularities = said.pop("timestamp_granularities", [])
    said["timestamp_granularities"] = granularities if isinstance(granularities, list) else [granularities]
    said["stream"] = str(said.get("stream", "")).lower() in ("true", "1")
    if "temperature" in said:
        try:
            said["temperature"] = number(said["temperature"])
        except (TypeError, ValueError) as error:
            raise wrong("temperature", "a number is expected") from error
    return said


async def _bytes(values: Values) -> AsyncIterator[bytes]:
    # An error in the middle breaks the connection: there is no other way to say that the sound is not all there.
    async for value in values:
        yield audio.piece(value)


async def _events(values: Values) -> AsyncIterator[bytes]:
    try:
        async for value in values:
            yield event({"type": "speech.audio.delta", "audio": base64.b64encode(audio.piece(value)).decode()})
    except GlowplugError as error:
        yield event(dialects.openai_event(error))
        return
    yield event({"type": "speech.audio.done"})
