"""OpenAI's routes of text: vectors of texts, and conversations."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.sse import format_sse_event
from starlette.responses import Response

from glowplug.errors import GlowplugError
from glowplug.gateway import bodies, dialects
from glowplug.gateway.calls import Calls, Values, renamed
from glowplug.gateway.departure import CLIENT_CLOSED_REQUEST, while_present
from glowplug.gateway.documents import described
from glowplug.gateway.openai import chat, embeddings
from glowplug.gateway.openai.chat import Conversation
from glowplug.gateway.openai.shapes import ChatRequest, EmbeddingsRequest, OpenAIError
from glowplug.gateway.service import Gateway
from glowplug.gateway.streamed import Events, event
from glowplug.gateway.subjects import subject_of

DONE = format_sse_event(data_str="[DONE]")


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["openai"])
    calls, limits = Calls.of(gateway), gateway.policy.limits

    @routes.post("/v1/embeddings", **described(EmbeddingsRequest, {200: None}, error=OpenAIError))
    async def embed(request: Request) -> Response:
        """Turn texts into vectors, by a model that serves `embeddings`."""
        wish, body = await bodies.read_object(request, EmbeddingsRequest, limits.call_bytes)
        task = await calls.offers.serving("embeddings", wish.model)
        with renamed(embeddings.NAMES):
            inputs = embeddings.inputs(task, wish, body)
            results = await while_present(request, calls.all(task, inputs, subject_of(request)))
        if results is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return bodies.answer(embeddings.answer(wish, results))

    @routes.post("/v1/chat/completions", **described(ChatRequest, {200: None}, error=OpenAIError))
    async def complete(request: Request) -> Response:
        """Continue a conversation, by a model that serves `chat/completions`; with `stream` as it is written."""
        wish, body = await bodies.read_object(request, ChatRequest, limits.call_bytes)
        task = await calls.offers.serving("chat/completions", wish.model)
        given = chat.given(task, wish, body)
        talk = _conversation(gateway, wish)
        with renamed(chat.names(wish)):
            values = await while_present(request, calls.values(task, given, subject_of(request)))
        if values is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        if wish.stream:
            return Events(_chunks(talk, values), values)
        whole = await while_present(request, _whole(talk, values))
        return bodies.answer(whole) if whole is not None else Response(status_code=CLIENT_CLOSED_REQUEST)

    return routes


def _conversation(gateway: Gateway, wish: ChatRequest) -> Conversation:
    created = int(gateway.parts.clock.now().timestamp())
    usage = wish.stream_options is not None and wish.stream_options.include_usage
    return Conversation(f"chatcmpl-{secrets.token_hex(12)}", wish.model, created, usage)


async def _whole(talk: Conversation, values: Values) -> dict[str, Any]:
    try:
        async for value in values:
            talk.take(value)
    finally:
        await values.aclose()
    return talk.whole()


async def _chunks(talk: Conversation, values: Values) -> AsyncIterator[bytes]:
    yield event(talk.first())
    try:
        async for value in values:
            chunk = talk.next(value)
            if chunk is not None:
                yield event(chunk)
    except GlowplugError as error:
        yield event(dialects.openai_event(error))
        return
    for chunk in talk.last():
        yield event(chunk)
    yield DONE
