"""Goes wrong while it loads, as option `how` says; with option `until`, a file that counts, only the first `times`."""

import importlib
import os
import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task


class Crash(Model):
    def load(self, ctx: LoadContext) -> None:
        print("about to load")
        if "until" in ctx.options and counted(Path(ctx.options["until"])) > int(ctx.options.get("times", "1")):
            return
        fail(ctx.options.get("how", "raise"))

    @task
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text


def counted(path: Path) -> int:
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


def fail(how: str) -> None:
    if how == "raise":
        raise ValueError("the weights have the wrong shape")
    if how == "network":
        raise ConnectionRefusedError("the hub does not answer")
    if how == "import":
        importlib.import_module("a_library_that_is_not_there")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        raise SystemExit(3)
    if how == "abort":
        os.abort()
    if how == "hang":
        time.sleep(3600)
