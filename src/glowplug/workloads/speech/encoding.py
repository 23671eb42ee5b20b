"""Encodes samples piece by piece: the pieces joined are one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from numpy.typing import NDArray

from glowplug.workloads.speech.values import AudioFormat

Samples = NDArray[np.float32]
LARGEST = 32767


@dataclass(frozen=True, slots=True)
class Coding:
    """How a format is written: container, codec, and the options of both."""

    container: str
    codec: str
    container_options: Mapping[str, str] = field(default_factory=dict)
    codec_options: Mapping[str, str] = field(default_factory=dict)


_OPUS = Coding("ogg", "libopus", {"page_duration": "200000"})
# In a stream nobody can go back to write a length, and frames of MP3 must not lean on ones before them.
_MP3 = Coding("mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}, {"reservoir": "0"})
CODINGS: Mapping[AudioFormat, Coding] = {
    "wav": Coding("wav", "pcm_s16le", {"fflags": "+bitexact"}),
    "pcm": Coding("s16le", "pcm_s16le"),
    "flac": Coding("flac", "flac"),
    "mp3": _MP3,
    "opus": _OPUS,
    "ogg": _OPUS,
    "aac": Coding("adts", "aac"),
}


class Sink:
    """Where the muxer writes; it cannot go back, so it writes what a stream can be read without."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep `data`."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._parts = b"".join(self._parts), []
        return taken


class Encoder:
    """Mono samples of `rate` into `target`; use it in a `with` block."""

    def __init__(self, target: Sink | Path, kind: AudioFormat, rate: int) -> None:
        coding = CODINGS[kind]
        self._rate = rate
        self._told = 0
        options = dict(coding.container_options)
        name = str(target) if isinstance(target, Path) else target
        self._container = av.open(name, "w", format=coding.container, options=options)
        self.sample_rate = _supported(coding.codec, rate)
        stream = self._container.add_stream(coding.codec, rate=self.sample_rate, layout="mono")
        self._stream = cast("av.AudioStream", stream)
        self._stream.options = dict(coding.codec_options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def add(self, samples: Samples) -> None:
        """Encode `samples` and write what is ready."""
        whole = (np.clip(samples, -1.0, 1.0) * LARGEST).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole[None, :]), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._told
        self._told += len(whole)
        self._container.mux(self._stream.encode(frame))

    def end(self) -> None:
        """Write what was held back, and the end of the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _supported(codec: str, rate: int) -> int:
    """Return `rate`, or the next higher one that the codec can do, or its highest."""
    rates = av.Codec(codec, "w").audio_rates
    if not rates or rate in rates:
        return rate
    return min((one for one in rates if one > rate), default=max(rates))
