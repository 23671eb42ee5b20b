"""Audio: what requests for speech and transcripts mean to a task, and the forms of a transcript. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from glowplug.errors import TaskFailed
from glowplug.gateway.openai.parameters import choices, extras, knows, typed, wrong
from glowplug.gateway.openai.shapes import SpeechRequest, TranscriptionRequest
from glowplug.store import TaskInfo

SPEECH_NAMES = {"text": "input", "format": "response_format"}
TRANSCRIPTION_NAMES = {"audio": "file"}
DEFAULT_FORMAT = "mp3"
MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
_SPEECH_TAKEN = frozenset({*SpeechRequest.__struct_fields__, "text", "format"})
_TRANSCRIPTION_TAKEN = frozenset({*TranscriptionRequest.__struct_fields__, "file", "audio"})


class _Segment(msgspec.Struct, frozen=True):
    start_seconds: float
    end_seconds: float
    text: str


class _Transcript(msgspec.Struct, frozen=True):
    text: str
    language: str | None = None
    duration_seconds: float | None = None
    segments: list[_Segment] | None = None


def spoken(task: TaskInfo, wish: SpeechRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task is called with. Raises `InvalidInput`."""
    if not wish.input:
        raise wrong("input", "there is nothing to speak")
    said: dict[str, Any] = {**extras(task, body, _SPEECH_TAKEN), "text": wish.input}
    voice = wish.voice if isinstance(wish.voice, str) else str(wish.voice.get("id", ""))
    if voice:
        said["voice"] = voice
    if wish.speed is not None:
        said["speed"] = wish.speed
    if wish.instructions and knows(task, "instructions"):
        said["instructions"] = wish.instructions
    form = speech_format(task, wish)
    return {**said, "format": form} if knows(task, "format") else said


def speech_format(task: TaskInfo, wish: SpeechRequest) -> str:
    """Return the format to ask for: the caller's, else OpenAI's own where the task has it, else the task's.

    Raises:
        InvalidInput: the caller wants one that the task has not.
    """
    known = choices(task, "format")
    if wish.response_format is None:
        return DEFAULT_FORMAT if DEFAULT_FORMAT in known else (known or ["wav"])[0]
    if wish.response_format not in MEDIA_TYPES or (known and wish.response_format not in known):
        there = ", ".join(known or MEDIA_TYPES)
        raise wrong("response_format", f"{wish.model} speaks no {wish.response_format[:20]!r}; there are: {there}")
    return wish.response_format


def piece(value: Any) -> bytes:
    """Return the bytes in one value of a speaking task. Raises `TaskFailed` if there are none."""
    audio = value.get("audio") if isinstance(value, Mapping) else None
    try:
        return base64.b64decode(audio or "", validate=True) if isinstance(audio, str) else _no_audio()
    except binascii.Error as error:
        raise TaskFailed(f"the task's audio is no base64: {error}") from error


def heard(task: TaskInfo, wish: TranscriptionRequest, form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task is called with, but for the recording. Raises `InvalidInput`."""
    if wish.stream:
        raise wrong("stream", "transcripts are not streamed")
    if any(word != "segment" for word in wish.timestamp_granularities):
        raise wrong("timestamp_granularities", "there are times of segments alone")
    said = typed(task, extras(task, form, _TRANSCRIPTION_TAKEN))
    for name in ("language", "prompt"):
        if getattr(wish, name):
            said[name] = getattr(wish, name)
    if wish.temperature is not None and knows(task, "temperature"):
        said["temperature"] = wish.temperature
    return said


def transcript(wish: TranscriptionRequest, result: Any) -> tuple[str | dict[str, Any], str]:
    """Return the answer and its media type. Raises `TaskFailed` for a result that is no transcript."""
    try:
        said = msgspec.convert(result, _Transcript)
    except msgspec.ValidationError as error:
        raise TaskFailed(f"the task serves audio/transcriptions, but its result is no transcript: {error}") from error
    form = wish.response_format
    if form == "text":
        return said.text.strip() + "\n", "text/plain; charset=utf-8"
    if form == "srt":
        return "".join(_srt(said)), "text/plain; charset=utf-8"
    if form == "vtt":
        return "".join(_vtt(said)), "text/vtt; charset=utf-8"
    seconds = said.duration_seconds or 0.0
    usage = {"type": "duration", "seconds": seconds}
    if form == "json":
        return {"text": said.text, "usage": usage}, "application/json"
    told = {"task": "transcribe", "language": said.language or "", "duration": seconds}
    return {**told, "text": said.text, "segments": list(_segments(said)), "usage": usage}, "application/json"


def _no_audio() -> bytes:
    raise TaskFailed("the task serves audio/speech, but yielded a value without audio")


def _segments(said: _Transcript) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(said.segments or ()):
        # What else OpenAI tells of a segment, such as its log probability, nobody here has measured.
        yield {"id": number, "start": one.start_seconds, "end": one.end_seconds, "text": one.text}


def _srt(said: _Transcript) -> Iterator[str]:
    for one in _segments(said):
        times = f"{_clock(one['start'], ',')} --> {_clock(one['end'], ',')}"
        yield f"{one['id'] + 1}\n{times}\n{_line(one['text'])}\n\n"


def _vtt(said: _Transcript) -> Iterator[str]:
    yield "WEBVTT\n\n"
    for one in _segments(said):
        yield f"{_clock(one['start'], '.')} --> {_clock(one['end'], '.')}\n{_line(one['text'])}\n\n"


def _line(text: str) -> str:
    # An arrow in the text would read as a time.
    return " ".join(text.split()).replace("-->", "->")


def _clock(seconds: float, point: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
