"""Loads only where a file is; options: file, seconds (0) that the load takes."""

import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task


class NeedsFile(Model):
    def load(self, ctx: LoadContext) -> None:
        time.sleep(float(ctx.options.get("seconds", "0")))
        Path(ctx.options["file"]).read_bytes()

    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
