"""Trains, in a way: each step folds its number into a state, so that any lost or repeated step shows in the result.

Checkpoints are the state as text. The expected result of n steps is `expected(n)`.
"""

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

from glowplug import Model, RunContext, task


class TrainSteps(Model):
    @task(example={"steps": 3, "step_seconds": 0})
    def train(self, ctx: RunContext, steps: int = 20, step_seconds: float = 0.01, every: int = 1) -> dict[str, Any]:
        """Fold `steps` numbers, with a checkpoint at every `every`-th step."""
        resumed = ctx.resume()
        step, state = (resumed.step, resumed.path.read_text()) if resumed else (0, "")
        began = step
        while step < steps:
            ctx.check()
            time.sleep(step_seconds)
            step += 1
            state = folded(state, step)
            ctx.progress(step, steps, f"step {step}")
            ctx.metrics(loss=1 / step)
            if step % every == 0:
                ctx.checkpoint(step, partial(write, state))
        ctx.save("state.txt", state.encode())
        return {"steps": step, "state": state, "began": began}


def write(state: str, path: Path) -> None:
    path.write_text(state)


def folded(state: str, step: int) -> str:
    return hashlib.sha256(f"{state}{step}".encode()).hexdigest()


def expected(steps: int) -> str:
    state = ""
    for step in range(1, steps + 1):
        state = folded(state, step)
    return state
