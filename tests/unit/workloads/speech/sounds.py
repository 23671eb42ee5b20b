"""Audio files made for tests, sound and sick ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 16_000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    """Return a tone, 16 bit."""
    return (np.sin(np.arange(int(seconds * rate)) * 0.1) * 8000).astype("<i2")


def wav(
    samples: np.ndarray, rate: int = RATE, *, channels: int = 1, promised_bytes: int | None = None, floats: bool = False
) -> bytes:
    """Return a WAV; `promised_bytes` is what its header says of its length."""
    data = samples.tobytes()
    width = samples.dtype.itemsize * channels
    size = len(data) if promised_bytes is None else promised_bytes
    form = struct.pack(
        "<HHIIHH", 3 if floats else 1, channels, rate, rate * width & 0xFFFFFFFF, width, samples.dtype.itemsize * 8
    )
    head = b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + data


def png() -> bytes:
    """Return a picture."""
    target = io.BytesIO()
    Image.new("RGB", (8, 8)).save(target, "PNG")
    return target.getvalue()


def silent_film() -> bytes:
    """Return a video without sound."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()


def decoded(data: bytes, kind: str = "") -> tuple[float, int]:
    """Return how many seconds `data` lasts, decoded to its end, and its rate."""
    bare = {"format": "s16le", "options": {"sample_rate": "24000"}} if kind == "pcm" else {}
    with av.open(io.BytesIO(data), **bare) as container:
        frames = [(frame.samples, frame.sample_rate) for frame in container.decode(audio=0)]
    return sum(samples for samples, _ in frames) / frames[0][1], frames[0][1]


def written(folder: Path, data: bytes) -> Path:
    """Write `data` as a caller's file: without an ending that would give it away."""
    path = folder / "input-1"
    path.write_bytes(data)
    return path
