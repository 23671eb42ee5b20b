"""Dies of a segmentation fault when it is asked to; beside it, calls that wait for a file to appear."""

import ctypes
import os
import signal
import time
from pathlib import Path

from glowplug import Model, RunContext, task


class Segv(Model):
    slots = 4

    @task
    def die(self, ctx: RunContext) -> None:
        """Read where nothing is."""
        print("reaching for address zero")
        ctypes.string_at(0)

    @task
    def kill(self, ctx: RunContext) -> None:
        """End as kill -9 does."""
        os.kill(os.getpid(), signal.SIGKILL)

    @task
    def wait(self, ctx: RunContext, path: str) -> str:
        """Wait for a file."""
        while not Path(path).exists():
            ctx.check()
            time.sleep(0.005)
        return "done"

    @task
    def say(self, ctx: RunContext, text: str) -> str:
        """Give a text back."""
        return text
