"""The jobs of the queue benchmarks: what the peers' jobs do, as a model's tasks."""

from __future__ import annotations

import sys
from pathlib import Path

from glowplug import Model, RunContext, task

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

import stamps


class Stamped(Model):
    """Ten slots, as the peers have."""

    slots = 10

    @task(short=True)
    def noop(self, ctx: RunContext, number: int) -> int:
        """Do nothing."""
        return stamps.noop(number)

    @task
    def slow(self, ctx: RunContext, number: int, seconds: float) -> int:
        """Take some time."""
        return stamps.slow(number, seconds)
