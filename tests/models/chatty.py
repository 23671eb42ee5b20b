"""Prints, from Python and from C, and tells what it should not."""

import ctypes
import os
import sys
import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task


class Chatty(Model):
    slots = 2

    def load(self, ctx: LoadContext) -> None:
        print("loading, said Python")
        os.write(2, b"loading, said C\n")

    @task
    def talk(self, ctx: RunContext, text: str, times: int = 1) -> None:
        """Print a text."""
        for _ in range(times):
            print(text)

    @task
    def talk_in_c(self, ctx: RunContext, text: str) -> None:
        """Print a text past Python, and a half line."""
        libc = ctypes.CDLL(None)
        libc.puts(text.encode())
        libc.fflush(None)
        sys.stdout.write("half a line")

    @task
    def talk_and_wait(self, ctx: RunContext, text: str, path: str) -> None:
        """Print a text and wait for a file."""
        print(text)
        ctx.progress(1, 2, "printed")
        while not Path(path).exists():
            time.sleep(0.005)

    @task
    def secrets(self, ctx: RunContext) -> None:
        """Print what should be kept."""
        print("token is", os.environ.get("MY_API_TOKEN"))
        print("Authorization: Bearer abcdef0123456789")
        ctx.log("password=hunter2hunter2")

    @task
    def places(self, ctx: RunContext) -> None:
        """Print where things are."""
        print(f"Saving to: {ctx.scratch}/run, beside {ctx.scratch}", flush=True)
        ctx.log(f"read '{ctx.scratch.resolve() / 'set' / 'a.jpg'}', not {ctx.scratch}2 or {Path('/usr/lib')}")

    @task
    def environment(self, ctx: RunContext) -> list[str]:
        """Name what there is in the environment."""
        return sorted(os.environ)
