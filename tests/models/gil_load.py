"""Holds the interpreter's lock for half of its load, computing; options: seconds (2), idle (half of them)."""

import time

from glowplug import LoadContext, Model, RunContext, task


class GilLoad(Model):
    def load(self, ctx: LoadContext) -> None:
        seconds = float(ctx.options.get("seconds", "2"))
        idle = float(ctx.options.get("idle", seconds / 2))
        with ctx.stage("read"):
            time.sleep(idle)
        with ctx.stage("to device"):
            ends = time.monotonic() + seconds - idle
            while time.monotonic() < ends:
                sum(range(3_000_000))

    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
