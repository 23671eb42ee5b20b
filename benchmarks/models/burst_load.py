"""A model that holds the interpreter's lock in bursts for all of its load, 8 s."""

from __future__ import annotations

import os
import time

from glowplug import LoadContext, Model

SECONDS = float(os.environ.get("BENCH_LOAD_SECONDS", "8"))
PAUSE_SECONDS = 0.01


class BurstLoad(Model):
    """Loads as an import of a large library or an unpickling does: long calls that never let go of the lock."""

    def load(self, ctx: LoadContext) -> None:
        """Hold the lock, pause a little, and again."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            sum(range(3_000_000))
            time.sleep(PAUSE_SECONDS)
