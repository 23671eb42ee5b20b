"""Models that the tests run in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from glowplug import Artifact, File, LoadContext, Model, RunContext, task


class Painter(Model):
    """Loads quickly, unless its options say something else, and can do what a handle has to carry."""

    def load(self, ctx: LoadContext) -> None:
        """Fail as the options say."""
        marker = Path(ctx.options.get("fails_until", os.devnull))
        if not marker.exists():
            raise ValueError("not yet")
        if "needs" in ctx.options:
            __import__(ctx.options["needs"])
        self.pid = os.getpid()

    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str) -> dict[str, object]:
        """Tell who answers."""
        return {"text": text, "pid": os.getpid()}

    @task
    def paint(self, ctx: RunContext, name: str = "picture.txt") -> dict[str, Artifact]:
        """Save a file."""
        return {"picture": ctx.save(name, name.encode())}

    @task
    def length(self, ctx: RunContext, file: File) -> int:
        """Say how long a file is."""
        return file.stat().st_size

    @task
    def count(self, ctx: RunContext, to: int) -> Iterator[int]:
        """Count, one value after the other."""
        for number in range(to):
            ctx.check()
            yield number

    @task
    def fail(self, ctx: RunContext) -> None:
        """Raise."""
        raise ValueError("no such thing")

    @task
    def die(self, ctx: RunContext) -> None:
        """End the process."""
        os._exit(3)
