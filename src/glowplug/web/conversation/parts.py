"""What a conversation is made of: three functions, the sounds that one of them gives, and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

MIB = 1024 * 1024


class Message(TypedDict):
    """One turn as the chat is told of it."""

    role: Literal["system", "user", "assistant"]
    content: str


class AnySound(Protocol):
    """What `Sound` has, by whatever name."""

    @property
    def data(self) -> bytes:
        """Return the bytes."""

    @property
    def format(self) -> str:
        """Return how they are to be read."""

    @property
    def sample_rate(self) -> int:
        """Return the samples in a second."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of speech: a file in an encoded `format` such as "wav", or "pcm" (signed 16 bit little-endian mono)."""

    data: bytes
    format: str = "wav"
    sample_rate: int = 24_000

    @classmethod
    def of(cls, file: bytes) -> Sound:
        """Return a WAV file as a sound."""
        return cls(file, sample_rate=int.from_bytes(file[24:28], "little"))


Transcribe = Callable[[bytes, str], Awaitable[str]]
"""Audio and its media type to the words in it."""

Reply = Callable[[Sequence[Message]], AsyncIterator[str]]
"""What was said to the answer, piece by piece. It is closed in the middle when somebody interrupts."""

Speak = Callable[[str], AsyncIterator[AnySound | bytes]]
"""A sentence to its sounds; bytes alone are a WAV file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The functions behind a conversation. Without `transcribe` it understands text alone.

    What they raise of Glowplug's own errors is told in its own words, anything else only as a failure.
    """

    reply: Reply
    speak: Speak
    transcribe: Transcribe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationLimits:
    """How much of anything is taken in and kept.

    A client who lets a frame wait for `send_seconds`, or says nothing for `idle_seconds`, is let go.
    """

    conversations: int = 64
    text_characters: int = 4_000
    audio_bytes: int = 8 * MIB
    reply_characters: int = 16_000
    history_messages: int = 40
    history_characters: int = 24_000
    turn_seconds: float = 300.0
    send_seconds: float = 20.0
    idle_seconds: float = 900.0
