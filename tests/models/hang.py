"""Never comes back, whatever it is told: in a task, or with option `load`, while it loads."""

import time

from glowplug import LoadContext, Model, RunContext, task


class Hang(Model):
    slots = 2

    def load(self, ctx: LoadContext) -> None:
        if "load" in ctx.options:
            print("waiting for a lock that nobody gives back")
            time.sleep(3600)

    @task(stall_seconds=2)
    def sleep(self, ctx: RunContext) -> None:
        """Sleep, deaf to everything."""
        ctx.progress(0, 1, "asleep")
        time.sleep(3600)

    @task
    def forever(self, ctx: RunContext) -> None:
        """Sleep without a limit of its own."""
        ctx.progress(0, 1, "asleep")
        time.sleep(3600)

    @task
    def polite(self, ctx: RunContext) -> None:
        """Wait until told to stop."""
        ctx.progress(0, 1, "waiting")
        while True:
            ctx.check()
            time.sleep(0.005)

    @task
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
