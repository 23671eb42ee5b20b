"""What the tasks take and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AudioFormat = Literal["wav", "pcm", "flac", "mp3", "opus", "ogg", "aac"]
"""`opus` and `ogg` are both Opus in Ogg; `pcm` is bare samples: 16 bit, little-endian, mono."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of an audio file, in base64, and the sentence that it speaks.

    The parts joined are one file. The last may hold what its format keeps for the end, and no sentence.
    """

    audio: str
    text: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A text read aloud into the file `audio`."""

    audio: str
    format: AudioFormat
    sample_rate: int
    duration_seconds: float
    sentences: int


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said between two moments of a recording."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording."""

    text: str
    language: str
    duration_seconds: float
    segments: list[Segment]
