"""Three tiny models that talk with each other: a chat, a voice that speaks text as samples, an ear that reads it.

They serve what the protocols of others ask for, with the very parameters and values of the real ones, without any
library. What the voice says is a WAV file whose samples are the characters of the text, so the loop text to speech to
text gives the words back exactly.
"""

from __future__ import annotations

import base64
import io
import time
import wave
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from glowplug import File, InvalidInput, Model, RunContext, task
from glowplug.errors import Stop

RATE = 8000
HOLD = "hold on"
FAIL = "fail now"
STOPPED = "how many were stopped?"


class Chat(Model):
    """Repeats what it is told, and how often it was spoken to; `hold on` never ends, `fail now` breaks off."""

    name: ClassVar[str] = "chat"

    def load(self, ctx: Any) -> None:
        self.stopped = 0

    @task(serves="chat/completions", example={"messages": [{"role": "user", "content": "hello"}]})
    def complete(
        self,
        ctx: RunContext,
        messages: list[dict[str, str]],
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Answer the last message, word by word."""
        asked = messages[-1]["content"]
        words = self._words(ctx, asked, turn=sum(message["role"] == "user" for message in messages))
        count = 0
        for word in words:
            if max_tokens is not None and count == max_tokens:
                break
            count += 1
            yield {"text": word}
        cut = max_tokens is not None and count == max_tokens
        yield {
            "text": "",
            "finish_reason": "length" if cut else "stop",
            "prompt_tokens": sum(len(message["content"].split()) for message in messages),
            "completion_tokens": count,
        }

    def _words(self, ctx: RunContext, asked: str, turn: int) -> Iterator[str]:
        if asked == STOPPED:
            yield str(self.stopped)
            return
        yield from ("You ", "said ", f"{asked}. ")
        if asked == FAIL:
            raise RuntimeError("the chat lost its thread")
        if asked == HOLD:
            self._hold(ctx)
        yield f"This is turn {turn}."

    def _hold(self, ctx: RunContext) -> None:
        try:
            while True:
                ctx.check()
                time.sleep(0.005)
        except Stop:
            self.stopped += 1
            raise


class Voice(Model):
    """Speaks each character as one sample."""

    name: ClassVar[str] = "tts"

    @task(serves="audio/speech", example={"text": "hello"})
    def speak(
        self,
        ctx: RunContext,
        text: str,
        voice: str = "",
        speed: float = 1.0,
        format: Literal["wav", "pcm"] = "wav",  # noqa: A002 - the word that callers know
    ) -> Iterator[dict[str, Any]]:
        """Speak a text: the head of the file, then the samples of each word."""
        if not text.strip():
            raise InvalidInput("text: there is nothing to say")
        samples = text.encode("utf-16-le")
        if format == "wav":
            yield _piece(_wav(samples)[:44], text)
        for begin in range(0, len(samples), 16):
            yield _piece(samples[begin : begin + 16], text)


class Ear(Model):
    """Reads the characters back."""

    name: ClassVar[str] = "stt"

    @task(serves="audio/transcriptions")
    def transcribe(self, ctx: RunContext, audio: File, language: str | None = None, prompt: str = "") -> dict[str, Any]:
        """Return the words of a WAV file."""
        try:
            with wave.open(str(audio)) as heard:
                seconds, samples = heard.getnframes() / heard.getframerate(), heard.readframes(heard.getnframes())
        except (wave.Error, EOFError) as error:
            raise InvalidInput(f"audio: this is no WAV file: {error}") from error
        text = samples.decode("utf-16-le", errors="replace")
        return {
            "text": text,
            "language": language or "en",
            "duration_seconds": seconds,
            "segments": [{"start_seconds": 0.0, "end_seconds": seconds, "text": text}],
        }


def _piece(data: bytes, text: str) -> dict[str, Any]:
    return {"audio": base64.b64encode(data).decode(), "text": text, "sample_rate": RATE}


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples)
    return file.getvalue()
