"""The ear: faster-whisper, if it is installed."""

from __future__ import annotations

import io
import threading
from typing import Any


class Ear:
    """Writes down what is said in a WAV file."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._one_at_a_time = threading.Lock()

    def transcribe(self, wav: bytes) -> str:
        """Return the words."""
        with self._one_at_a_time:
            segments, _ = self._model.transcribe(io.BytesIO(wav), language="en", beam_size=1)
            # The segments are made while they are read.
            return " ".join(segment.text.strip() for segment in segments).strip()


def load_ear(ctx: Any) -> Ear:
    """Load Whisper: `model` is a size ("tiny.en", fetched once by faster-whisper itself) or a folder.

    Raises `ModuleNotFoundError` where faster-whisper is not installed: the component is then unavailable.
    """
    with ctx.stage("import"):
        from faster_whisper import WhisperModel
    with ctx.stage("read"):
        return Ear(WhisperModel(ctx.options.get("model", "tiny.en"), device="cpu", compute_type="int8"))
