"""What a conversation needs of the gateway: three functions over the models of a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of speech in some format."""

    data: bytes
    format: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Talk:
    """The functions: messages to the pieces of a reply, a sentence to its sounds, audio and its media type to words."""

    reply: Callable[[Sequence[Any]], AsyncIterator[str]]
    speak: Callable[[str], AsyncIterator[Spoken]]
    transcribe: Callable[[bytes, str], Awaitable[str]]


Talks = Callable[[HTTPConnection], Awaitable[Talk]]
"""Begins a talk for who asks. Raises `NotReady` until somebody can answer, and `NotFound` for models that are not."""
