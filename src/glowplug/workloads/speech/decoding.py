"""Sound out of a caller's file: whatever is wrong with it is the caller's error, and nothing but the file is opened."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from glowplug.errors import InvalidInput

RATE = 16_000
SLOWEST_RATE, FASTEST_RATE = 1_000, 768_000
MOST_CHANNELS = 8
CONTAINERS = "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,amr,ogg,mov,matroska,asf,avi,mpegts"
"""By FFmpeg's names. Playlists are left out: what they name, a file of this machine even, would be opened too."""
KINDS = "WAV, MP3, FLAC, Ogg, AAC, M4A, WebM or a video with sound"
UNKNOWN_FRAMES = 0x7FFFFFFF // 8
"""A WAV that was streamed says that it is endless, one way or another."""
DAMAGED_SHARE = 0.05
SHORT_SECONDS, SHORT_SHARE = 0.5, 0.02


class Sound:
    """Collects what is decoded, and knows when it is too much."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._resampler = _resampler()
        self._kind: tuple[object, ...] = ()
        self._parts: list[NDArray[np.int16]] = []
        self._count = 0

    @property
    def seconds(self) -> float:
        """Return how much there is."""
        return self._count / RATE

    def add(self, frame: av.AudioFrame | None) -> None:
        """Take in a frame; None is the end."""
        if frame is not None:
            self.check_length(self.seconds + frame.samples / frame.sample_rate)
            if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
                raise InvalidInput("audio: it has samples that are no numbers (NaN or infinite)")
            if self._kind not in ((), kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                # Files joined to one change their rate or their channels in the middle.
                self._resample(None)
                self._resampler = _resampler()
            self._kind = kind
        self._resample(frame)

    def _resample(self, frame: av.AudioFrame | None) -> None:
        for made in self._resampler.resample(frame):
            self._parts.append(made.to_ndarray()[0])
            self._count += made.samples

    def check_length(self, seconds: float) -> None:
        """Raise if `seconds` are more than are taken."""
        if seconds > self._longest:
            raise InvalidInput(
                f"audio: longer than {self._longest:g} seconds; cut it, or raise the option longest_seconds",
                longest_seconds=self._longest,
            )

    def samples(self) -> NDArray[np.float32]:
        """Return all of it, from -1 to 1."""
        whole, end = np.empty(self._count, np.float32), self._count
        # From behind, and let go of: of two hours there is no third copy.
        while self._parts:
            part = self._parts.pop()
            whole[end - len(part) : end] = part
            end -= len(part)
        whole /= np.float32(32768)
        return whole


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="s16", layout="mono", rate=RATE)


def samples_of(path: Path, longest_seconds: float, check: Callable[[], None]) -> NDArray[np.float32]:
    """Return the sound of a file, mono at `RATE`; `check` is called between its parts.

    Raises:
        InvalidInput: it is no audio of a known kind, has no sound, is damaged, breaks off or is too long.
    """
    if not path.stat().st_size:
        raise InvalidInput("audio: the file is empty")
    sound = Sound(longest_seconds)
    # As a stream, with no protocol allowed: FFmpeg gets these bytes and can open nothing else.
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
    try:
        with path.open("rb") as file, av.open(file, "r", options=options, metadata_errors="ignore") as container:
            stream = _stream_of(container)
            declared = _declared_seconds(path, container.format.name, stream)
            sound.check_length(declared or 0)
            _collect(container, stream, sound, check)
    except av.FFmpegError as error:
        why = error.strerror or type(error).__name__
        raise InvalidInput(f"audio: not a file of {KINDS}, or damaged ({why.lower()})") from error
    if not sound.seconds:
        raise InvalidInput("audio: there is no sound in it")
    if declared and declared - sound.seconds > max(SHORT_SECONDS, SHORT_SHARE * declared):
        raise InvalidInput(f"audio: it breaks off after {sound.seconds:.1f} of {declared:.1f} seconds; send all of it")
    return sound.samples()


def _stream_of(container: Any) -> Any:
    if not container.streams.audio:
        raise InvalidInput("audio: the file has no sound, only pictures or data")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise InvalidInput("audio: its coding is not known; send it as one of " + KINDS)
    rate, channels = stream.codec_context.sample_rate or 0, stream.codec_context.channels or 0
    if not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise InvalidInput(f"audio: {rate} samples a second; {SLOWEST_RATE} to {FASTEST_RATE} can be read")
    if not 1 <= channels <= MOST_CHANNELS:
        raise InvalidInput(f"audio: {channels} channels; 1 to {MOST_CHANNELS} can be read")
    return stream


def _collect(container: Any, stream: Any, sound: Sound, check: Callable[[], None]) -> None:
    good = damaged = 0
    for packet in container.demux(stream):
        check()
        try:
            for frame in _frames(packet):
                sound.add(frame)
            good += 1
        except av.FFmpegError:
            damaged += 1
    sound.add(None)
    if damaged > 1 + DAMAGED_SHARE * good:
        raise InvalidInput(f"audio: {damaged} of its {damaged + good} parts are damaged")


def _frames(packet: Any) -> Iterator[av.AudioFrame]:
    yield from packet.decode()


def _declared_seconds(path: Path, container: str, stream: Any) -> float | None:
    """Return how long the file says it is, where that is more than a guess from its size."""
    if container == "wav":
        return _declared_by_wave(path)
    if not container.startswith(("flac", "mov")) or stream.duration is None:
        return None
    return float(stream.duration * stream.time_base)


def _declared_by_wave(path: Path) -> float | None:
    # FFmpeg itself tells the length of what is there, not the one that was promised.
    try:
        with wave.open(str(path), "rb") as told:
            frames, rate = told.getnframes(), told.getframerate()
    except (wave.Error, EOFError):
        return None
    return frames / rate if rate and frames < UNKNOWN_FRAMES else None
