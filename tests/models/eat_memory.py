"""Eats memory: in a task, or with option `load`, while it loads."""

import time

from glowplug import LoadContext, Model, RunContext, task

PIECE_BYTES = 16 * 1024 * 1024


class EatMemory(Model):
    def load(self, ctx: LoadContext) -> None:
        if "load" in ctx.options:
            eat(int(ctx.options["load"]))

    @task
    def eat(self, ctx: RunContext, megabytes: int) -> int:
        """Eat, and stay full."""
        return eat(megabytes)


def eat(megabytes: int) -> int:
    pieces = []
    for _ in range(megabytes * 1024 * 1024 // PIECE_BYTES):
        pieces.append(b"x" * PIECE_BYTES)
        time.sleep(0.005)
    time.sleep(3600 if megabytes > 256 else 0)
    return len(pieces)
