"""Whisper in CTranslate2, by faster-whisper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glowplug.errors import InvalidInput, MissingExtra, OutOfMemory, SettingsError
from glowplug.model import RunContext
from glowplug.workloads.speech.blocks import blocks
from glowplug.workloads.speech.configs import check_preprocessor, check_tokens
from glowplug.workloads.speech.decoding import RATE
from glowplug.workloads.speech.values import Segment, Transcript

try:
    from ctranslate2 import get_supported_compute_types
    from faster_whisper import WhisperModel
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("ctranslate2", "faster_whisper"):
        raise
    raise MissingExtra.of("speech", "the stt model") from error

REMEMBERED_CHARACTERS = 400
_DEVICE = re.compile(r"(auto|cpu|cuda|mps)(?::([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Place:
    """What a model runs on."""

    device: str
    compute_type: str
    threads: int


@dataclass(frozen=True, slots=True)
class Wish:
    """How a recording is to be read."""

    language: str | None
    prompt: str
    vad: bool
    beam_size: int


def opened(folder: Path, place: Place) -> Any:
    """Return the model of `folder`.

    Raises:
        SettingsError: it is damaged, of another architecture, or asks for what it cannot be; or the device or the
            compute type is not there.
        OutOfMemory: the device has no room for it.
    """
    device, index = _device(place.device)
    _check_compute_type(device, place.compute_type)
    check_preprocessor(folder)
    try:
        model = WhisperModel(
            str(folder),
            device=device,
            device_index=index,
            compute_type=place.compute_type,
            cpu_threads=place.threads,
            local_files_only=True,
        )
    except Exception as error:  # a damaged tokenizer is a bare one
        _check_memory(error, f"no room on {place.device} for the model in {folder}")
        why = " ".join(str(error).split())[:200]
        raise SettingsError(f"{folder} cannot be opened as a Whisper model for CTranslate2: {why}") from error
    check_tokens(folder, model.hf_tokenizer.get_vocab_size())
    return model


def _device(name: str) -> tuple[str, int]:
    found = _DEVICE.fullmatch(name)
    if found is None:
        raise SettingsError(f"option device={name!r}: cpu, cuda, cuda:1 or auto is expected")
    # CTranslate2 knows no Metal; there it runs on the processor.
    return ("cpu" if found[1] == "mps" else found[1]), int(found[2] or 0)


def _check_compute_type(device: str, compute_type: str) -> None:
    if device == "auto" or compute_type in ("default", "auto"):
        return
    try:
        known = sorted(get_supported_compute_types(device))
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"option device={device!r}: {' '.join(str(error).split())[:200]}") from error
    if compute_type not in known:
        raise SettingsError(f"option compute_type={compute_type!r}: {device} has {', '.join(known)} here")


def _check_memory(error: Exception, message: str) -> None:
    if "out of memory" in str(error).lower():
        raise OutOfMemory(message) from error


def warm(model: Any) -> None:
    """Run the whole network once."""
    list(model.transcribe(np.zeros(RATE, np.float32), beam_size=1)[0])


def transcribed(model: Any, samples: NDArray[np.float32], wish: Wish, ctx: RunContext) -> Transcript:
    """Write down what is said, telling the progress in seconds of audio.

    Raises:
        InvalidInput: the model does not know the language.
    """
    _check_language(model, wish.language)
    seconds = len(samples) / RATE
    language, segments = wish.language, list[Segment]()
    ctx.progress(0, seconds, "seconds of audio")
    try:
        for start, block in blocks(samples):
            ctx.check()
            found, info = model.transcribe(
                block,
                language=language,
                initial_prompt=_prompt(wish, segments),
                vad_filter=wish.vad,
                beam_size=wish.beam_size,
            )
            language = info.language
            for one in found:
                ctx.check()
                segment = _segment(one, start / RATE, (start + len(block)) / RATE)
                segments.append(segment)
                ctx.progress(segment.end_seconds, seconds, "seconds of audio")
    except RuntimeError as error:
        _check_memory(error, "no room on the device for this recording; a smaller beam_size needs less")
        raise
    text = " ".join(segment.text for segment in segments)
    return Transcript(text, language or "", round(seconds, 3), segments)


def _prompt(wish: Wish, before: Sequence[Segment]) -> str | None:
    """Return what was said last, so that a sentence goes on over the cut, after the words that the caller gave."""
    said = " ".join(segment.text for segment in before[-3:])[-REMEMBERED_CHARACTERS:]
    return f"{wish.prompt} {said}".strip() or None


def _segment(found: Any, begins: float, ends: float) -> Segment:
    end = min(begins + found.end, ends)
    return Segment(round(min(begins + found.start, end), 3), round(end, 3), found.text.strip())


def _check_language(model: Any, language: str | None) -> None:
    known = model.supported_languages
    if language is not None and language not in known:
        some = f"{', '.join(known[:8])}{' …' if len(known) > 8 else ''}"
        raise InvalidInput(f"language: this model does not know {language!r}; it knows {some}")
