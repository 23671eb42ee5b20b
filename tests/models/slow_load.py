"""Takes its time to load, in stages with a counter; options: seconds (2), steps (20)."""

import time

from glowplug import LoadContext, Model, RunContext, task


class SlowLoad(Model):
    def load(self, ctx: LoadContext) -> None:
        seconds, steps = float(ctx.options.get("seconds", "2")), int(ctx.options.get("steps", "20"))
        with ctx.stage("read"):
            for step in range(steps):
                time.sleep(seconds / steps / 2)
                ctx.progress(step + 1, steps, unit="shards")
        with ctx.stage("to device"):
            time.sleep(seconds / 2)

    @task(example={"text": "hello"})
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
