"""The voice: hibari, a text-to-speech network of 8 MB that runs on one CPU core."""

from __future__ import annotations

import io
import threading
import wave
from typing import Any


class Voice:
    """Speaks English as WAV."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._one_at_a_time = threading.Lock()

    def wav(self, text: str) -> bytes:
        """Return `text` as spoken: a WAV file, 16 bit, mono. Empty when there is nothing to say."""
        with self._one_at_a_time:
            samples = self._engine(text)
        if not len(samples):
            return b""
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self._engine.sample_rate)
            out.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
        return file.getvalue()


def load_voice(ctx: Any) -> Voice:
    """Load the network and its dictionary."""
    with ctx.stage("import"):
        from hibari import Hibari
    with ctx.stage("read"):
        engine = Hibari()
    with ctx.stage("dictionary"):
        # Made on first use, and the slowest part: the first caller should not wait for it.
        _ = engine.g2p
    return Voice(engine)
