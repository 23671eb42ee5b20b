"""Loads half, and the rest once a file is there; options: gate (the file)."""

import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task

STEPS = 20


class Gated(Model):
    def load(self, ctx: LoadContext) -> None:
        gate = Path(ctx.options["gate"])
        with ctx.stage("read"):
            for step in range(1, STEPS + 1):
                while step > STEPS // 2 and not gate.exists():
                    time.sleep(0.01)
                time.sleep(0.01)
                ctx.progress(step, STEPS, unit="shards")

    def warm_up(self, ctx: LoadContext) -> None:
        time.sleep(0.3)

    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
