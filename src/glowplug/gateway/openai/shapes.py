"""What OpenAI's clients send and read, as far as it means something here; fields that are not named are left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True):
    """Why a call failed. `param` is the field that is wrong, `code` a word for machines."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct, frozen=True):
    """What every error of OpenAI's routes looks like."""

    error: ErrorDetail


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """Texts to turn into vectors."""

    model: str
    input: Any
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation; content in parts is joined, and may be text alone."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """With `include_usage` the last chunk of a stream counts the tokens."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to be continued."""

    model: str
    messages: list[ChatMessage]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None
    response_format: Mapping[str, Any] | None = None


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A picture to be made; other fields go to the task where it has a parameter of that name."""

    model: str
    prompt: str
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = None
    stream: bool | None = None


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text to be spoken."""

    model: str
    input: str
    voice: str | Mapping[str, Any] = ""
    response_format: str | None = None
    speed: float | None = None
    instructions: str | None = None
    stream_format: Literal["audio", "sse"] | None = None


class TranscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a recording beside its file."""

    model: str
    language: str | None = None
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float | None = None
    stream: bool | None = None
    timestamp_granularities: list[str] = []


class ImageEditForm(msgspec.Struct, frozen=True, kw_only=True):
    """A form: a picture, a prompt, perhaps a mask; other fields as in a request for a picture."""

    model: str
    prompt: str
    image: str
    mask: str | None = None
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None


class TranscriptionForm(msgspec.Struct, frozen=True, kw_only=True):
    """A form: a recording, and how its transcript is wanted."""

    model: str
    file: str
    language: str | None = None
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float | None = None
