"""A model whose stages really take time, each with lognormal noise of 25 %: half of it asleep, half computing."""

from __future__ import annotations

import random
import time
from typing import ClassVar

from glowplug import LoadContext, Model, RunContext, task

SIGMA = 0.25
WARM_UP_SECONDS = 0.25


class NoisyLoad(Model):
    """Option `seed` decides the noise of one load; with `silent`, all of it is a single stage without a counter."""

    stages: ClassVar = {"read": (0.5, 20), "to device": (0.25, 1), "compile": (0.3, 1)}

    def load(self, ctx: LoadContext) -> None:
        """Go through the stages, or take as long as all of them in one."""
        self._chance = random.Random(ctx.options["seed"])
        if "silent" in ctx.options:
            _work(self._noisy(sum(usual for usual, _ in self.stages.values())))
            return
        for stage, (usual, steps) in self.stages.items():
            with ctx.stage(stage):
                seconds = self._noisy(usual)
                for step in range(steps):
                    _work(seconds / steps)
                    if steps > 1:
                        ctx.progress(step + 1, steps, unit="shards")

    def warm_up(self, ctx: LoadContext) -> None:
        """Take a while as well."""
        _work(self._noisy(WARM_UP_SECONDS))

    @task
    def echo(self, ctx: RunContext, text: str = "") -> str:
        """Return what it gets."""
        return text

    def _noisy(self, usual: float) -> float:
        return usual * self._chance.lognormvariate(0, SIGMA)


class Fetched(NoisyLoad):
    """Needs weights from far away; what comes after their fetch is short."""

    weights: ClassVar = {"net": "s3://far-away/net"}
    stages: ClassVar = {"to device": (0.25, 1), "compile": (0.3, 1)}


def _work(seconds: float) -> None:
    end = time.monotonic() + seconds
    time.sleep(seconds / 2)
    while time.monotonic() < end:
        sum(range(1000))
