"""Takes and gives files and pictures, and results of every kind."""

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any

from glowplug import Artifact, File, Image, Model, RunContext, task


@dataclasses.dataclass
class Box:
    label: str
    size: tuple[int, int]


class Colour(enum.Enum):
    RED = "red"


class Artist(Model):
    @task
    def size(self, ctx: RunContext, image: Image) -> list[int]:
        """Say how large a picture is."""
        return [image.width, image.height]

    @task
    def length(self, ctx: RunContext, file: File, others: list[File] | None = None) -> int:
        """Say how long a file is, and all others."""
        return sum(path.stat().st_size for path in [file, *(others or [])])

    @task
    def paint(self, ctx: RunContext, name: str = "picture.txt", times: int = 1) -> Artifact:
        """Save a file."""
        for number in range(times):
            ctx.progress(number, times, preview=b"\x89PNG not really")
            artifact = ctx.save(name, b"paint" * (number + 1))
        return artifact

    @task
    def copy(self, ctx: RunContext, file: File) -> Artifact:
        """Save a file that is there."""
        return ctx.save("copy.bin", file)

    @task
    def result(self, ctx: RunContext, kind: str) -> Any:
        """Return something unusual."""
        results = {
            "box": Box("cat", (1, 2)),
            "nan": {"loss": math.nan, "top": math.inf},
            "enum": Colour.RED,
            "set": {1},
            "path": Path("x"),
            "bytes": b"x",
            "object": object(),
            "surrogate": "\udc80",
        }
        return results[kind]

    @task
    def fail(self, ctx: RunContext, kind: str) -> None:
        """Raise."""
        if kind == "surrogate":
            raise ValueError("file \udc80 is broken")
        if kind == "exit":
            raise SystemExit(4)
        raise {"value": ValueError("no such thing"), "full": OSError(28, "No space left on device")}[kind]
