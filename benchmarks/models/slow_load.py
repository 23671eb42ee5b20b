"""A model whose load takes 8 s, half of it holding the GIL; it stamps when its load begins and ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task

SECONDS = float(os.environ.get("BENCH_LOAD_SECONDS", "8"))


class SlowLoad(Model):
    """Loads slowly, echoes at once."""

    def load(self, ctx: LoadContext) -> None:
        """Sleep half the time and compute in pure Python the other half."""
        _stamp("load_entered")
        time.sleep(SECONDS / 2)
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            sum(range(1000))
        _stamp("load_ended")

    @task
    def echo(self, ctx: RunContext, text: str = "") -> str:
        """Return what it gets, and stamp when it was called."""
        _stamp("first_run")
        return text


def _stamp(name: str) -> None:
    folder = os.environ.get("BENCH_STAMPS")
    if folder and not (path := Path(folder) / name).exists():
        path.write_text(str(time.monotonic()))
