"""What a client sends, read and checked: words, speech in one piece or in many, and orders."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from glowplug.errors import InvalidInput, TooLarge, UnsupportedMediaType

MEDIA_TYPES = {
    "wav": "audio/wav",
    "webm": "audio/webm",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "flac": "audio/flac",
    "pcm": "audio/wav",
}
_SIGNS = ((b"RIFF", "wav"), (b"\x1aE\xdf\xa3", "webm"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"fLaC", "flac"))
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody says: words, or audio of `media_type`."""

    text: str = ""
    audio: bytes = b""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """Another frame of the client's: its type and its fields."""

    type: str
    fields: dict[str, Any]


def read_order(frame: str, limit: int) -> Order:
    """Return what a text frame says; `limit` is in characters.

    Raises:
        InvalidInput: it is not a JSON object with a type.
        TooLarge: it is far longer than any text may be.
    """
    # Each character of a text may be escaped in JSON, at worst as a pair of \uXXXX.
    if len(frame) > 12 * limit + 1024:
        raise too_long(limit)
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise InvalidInput('a text frame is JSON: {"type": "text", "text": "…"}') from error
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        raise InvalidInput('a text frame is a JSON object with a "type"')
    return Order(kind, found)


def text_of(order: Order, limit: int) -> Utterance:
    """Return the words of a text order. Raises `InvalidInput`, `TooLarge`."""
    text = order.fields.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput('"text" is what you say: a string that is not empty')
    if len(text) > limit:
        raise too_long(limit)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput('"text" holds half a character (a lone surrogate)') from error
    return Utterance(text=text.strip())


def whole_audio(data: bytes, limit: int) -> Utterance:
    """Return speech that came in one frame; its first bytes say what it is. Raises as `Recording` does."""
    found = next((kind for sign, kind in _SIGNS if data.startswith(sign)), None)
    if data[4:8] == b"ftyp":
        found = "mp4"
    if found is None and len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        found = "mp3"
    if found is None:
        raise UnsupportedMediaType(f"a binary frame is an audio file ({_formats()}), or comes after audio_start")
    recording = Recording(found, 0, limit)
    recording.add(data)
    return recording.end()


class Recording:
    """Speech that comes in many frames."""

    def __init__(self, kind: str, sample_rate: int, limit: int) -> None:
        self._kind = kind
        self._sample_rate = sample_rate
        self._limit = limit
        self._data = bytearray()
        self._full = False

    @classmethod
    def of(cls, order: Order, limit: int) -> Recording:
        """Begin as `audio_start` says. Raises `UnsupportedMediaType`, and `InvalidInput` for a wrong rate."""
        kind, rate = order.fields.get("format", "wav"), order.fields.get("sample_rate", 0)
        if not isinstance(kind, str) or kind not in MEDIA_TYPES:
            raise UnsupportedMediaType(f'"format" is one of {_formats()}')
        if kind == "pcm" and not (isinstance(rate, int) and LOWEST_RATE <= rate <= HIGHEST_RATE):
            raise InvalidInput(f'"pcm" needs a "sample_rate" from {LOWEST_RATE} to {HIGHEST_RATE}')
        return cls(kind, rate, limit)

    def add(self, data: bytes) -> None:
        """Take a piece. Raises `TooLarge` once; what comes after it is dropped."""
        if self._full:
            return
        if len(self._data) + len(data) > self._limit:
            self._full = True
            self._data.clear()
            raise TooLarge(f"speak shorter: {self._limit} bytes of audio at most", limit_bytes=self._limit)
        self._data += data

    @property
    def is_dropped(self) -> bool:
        """Say whether it was too long."""
        return self._full

    def end(self) -> Utterance:
        """Return the whole. Raises `InvalidInput` when there is nothing in it."""
        if not self._data:
            raise InvalidInput("no audio came between audio_start and audio_end")
        data = bytes(self._data)
        if self._kind == "pcm":
            data = wav_header(len(data), self._sample_rate) + data
        return Utterance(audio=data, media_type=MEDIA_TYPES[self._kind])


def wav_header(size_bytes: int, sample_rate: int) -> bytes:
    """Return what goes before 16 bit mono samples to make them a WAV file."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, sample_rate * 2, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", size_bytes)


def too_long(limit: int) -> TooLarge:
    """Return the error for a text of more than `limit` characters."""
    return TooLarge(f"say it shorter: {limit} characters at most", limit_characters=limit)


def _formats() -> str:
    return ", ".join(sorted(MEDIA_TYPES))
