"""Serves every operation that other protocols ask for, by sums instead of weights."""

import base64
import hashlib
import io
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from glowplug import Artifact, File, Image, Model, RunContext, task
from glowplug.errors import InvalidInput, OutOfMemory
from glowplug.model import Batch

WIDTH = 8
RATE = 8000


@dataclass
class Vector:
    embedding: list[float]
    tokens: int
    truncated: bool


class Versatile(Model):
    @task(example={"text": "a b"}, batch=32, short=True, serves="embeddings")
    def embed(self, ctx: RunContext, text: Batch[str], dimensions: Batch[int | None] = None) -> list[Vector]:
        """Turn a text into numbers of its hash."""
        return [self._vector(one, size or WIDTH) for one, size in zip(text, dimensions, strict=True)]

    def _vector(self, text: str, size: int) -> Vector:
        digest = hashlib.sha256(text.encode()).digest()
        return Vector([round(byte / 255, 3) for byte in digest[:size]], len(text.split()), len(text) > 1000)

    @task(serves="images/generations")
    def generate(
        self,
        ctx: RunContext,
        prompt: Annotated[str, MinLen(1)],
        count: Annotated[int, Ge(1), Le(4)] = 1,
        width: Annotated[int, Ge(8), Le(512)] = 32,
        height: Annotated[int, Ge(8), Le(512)] = 32,
        seed: int = 7,
        steps: int = 2,
    ) -> dict[str, Any]:
        """Paint a plain colour; a prompt of "slow" takes until it is canceled, one of "big" has no room."""
        if prompt == "big":
            raise OutOfMemory("the card has no room for the picture")
        for step in range(10_000 if prompt == "slow" else steps):
            ctx.check()
            ctx.progress(step, steps)
            time.sleep(0.005)
        return {"images": [self._paint(ctx, number, (width, height), seed) for number in range(count)], "seed": seed}

    @task(serves="images/edits")
    def edit(self, ctx: RunContext, image: Image, prompt: str, strength: float = 0.5) -> dict[str, Any]:
        """Turn a picture upside down."""
        return {"images": [self._save(ctx, image.convert("RGB").rotate(180))], "strength": strength}

    @task(serves="images/inpaints")
    def inpaint(self, ctx: RunContext, image: Image, mask: Image, prompt: str) -> dict[str, Any]:
        """Paint over where the mask is transparent."""
        if mask.size != image.size:
            raise InvalidInput(f"the mask is {mask.size}, the image {image.size}", fields=[{"path": "mask"}])
        return {"images": [self._save(ctx, image.convert("RGB"))]}

    @task(serves="audio/speech")
    def speak(
        self,
        ctx: RunContext,
        text: str,
        voice: str = "",
        speed: float = 1.0,
        format: Literal["wav", "pcm"] = "wav",  # noqa: A002
    ) -> Iterator[dict[str, Any]]:
        """Hum a sentence at a time."""
        if voice == "nobody":
            raise InvalidInput("voice: nobody is not here", fields=[{"path": "voice"}])
        for number, sentence in enumerate(text.split(".")):
            samples = b"\1\0" * len(sentence)
            piece = _wav(samples) if format == "wav" and number == 0 else samples
            yield {"audio": base64.b64encode(piece).decode(), "text": sentence, "sample_rate": RATE}

    @task(serves="audio/transcriptions")
    def transcribe(self, ctx: RunContext, audio: File, language: str | None = None, prompt: str = "") -> dict[str, Any]:
        """Say how long a recording is."""
        try:
            with wave.open(str(audio)) as opened:
                seconds = opened.getnframes() / opened.getframerate()
        except wave.Error as error:
            raise InvalidInput(f"audio: not a recording: {error}", fields=[{"path": "audio"}]) from error
        text = f"{seconds:g} seconds"
        segments = [{"start_seconds": 0.0, "end_seconds": seconds, "text": text}]
        return {"text": text, "language": language or "en", "duration_seconds": seconds, "segments": segments}

    @task(serves="chat/completions")
    def chat(
        self,
        ctx: RunContext,
        messages: list[dict[str, str]],
        max_tokens: int = 100,
        temperature: Annotated[float, Ge(0), Le(2)] = 1.0,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Say the last message again, word by word; "for ever" never ends, "break" ends badly after a word."""
        said = messages[-1]["content"]
        words = said.split()[:max_tokens]
        for word in words:
            yield {"text": word + " "}
            if said == "break":
                raise OutOfMemory("no room for the next word")
        while said == "for ever":
            ctx.check()
            time.sleep(0.005)
            yield {"text": "and on "}
        reason = "length" if len(words) == max_tokens else "stop"
        yield {"text": "", "finish_reason": reason, "prompt_tokens": len(messages), "completion_tokens": len(words)}

    @task
    def add(self, ctx: RunContext, a: list[float], b: float, name: str = "sum") -> dict[str, Any]:
        """Add a number to each of a list."""
        return {"sums": [one + b for one in a], "name": name, "count": len(a), "big": sum(a) > 10}

    def _paint(self, ctx: RunContext, number: int, size: tuple[int, int], seed: int) -> Artifact:
        from PIL import Image as Pillow

        colour = (seed * 31 % 256, number * 60, 128)
        return self._save(ctx, Pillow.new("RGB", size, colour), f"{number}.png")

    def _save(self, ctx: RunContext, picture: Any, name: str = "0.png") -> Artifact:
        target = io.BytesIO()
        picture.save(target, "PNG")
        return ctx.save(name, target.getvalue())


def _wav(samples: bytes) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(samples)
    return target.getvalue()
