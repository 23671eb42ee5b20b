"""A training job in small: epochs with metrics and a checkpoint each, whose result depends on every epoch in order."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

from glowplug import Model, RunContext, task
from glowplug.job import Budget

WITHOUT_END = Budget(crashes=1_000_000)


class Epochs(Model):
    """Chains a digest over the epochs, so that a skipped or repeated one shows in the result."""

    @task(budget=WITHOUT_END)
    def train(self, ctx: RunContext, epochs: int = 10, seconds: float = 0.05, name: str = "") -> str:
        """Train for some epochs of some seconds, going on from the last checkpoint."""
        done, digest = 0, name
        if (resumed := ctx.resume()) is not None:
            done, digest = resumed.step, resumed.path.read_text()
        for epoch in range(done + 1, epochs + 1):
            ctx.check()
            if seconds:
                time.sleep(seconds)
            digest = step(digest, epoch)
            ctx.metrics(epoch=epoch, loss=1.0 / epoch)
            ctx.progress(epoch, epochs)
            ctx.checkpoint(epoch, lambda path, text=digest: Path(path).write_text(text) and None)
        return digest

    @task(budget=Budget(crashes=3))
    def bounded(self, ctx: RunContext, seconds: float = 30.0) -> str:
        """Run without a checkpoint, under the usual crash budget."""
        end = time.monotonic() + seconds
        ctx.metrics(begun=1)
        while time.monotonic() < end:
            ctx.check()
            time.sleep(0.01)
        return "done"

    @task
    def quick(self, ctx: RunContext, number: int = 0) -> int:
        """Give the number back."""
        return number

    @task(budget=WITHOUT_END)
    def paint(self, ctx: RunContext, seconds: float = 0.0) -> str:
        """Save a file that names its process, and stay for a while before the end."""
        painter = f"painted by {os.getpid()}"
        ctx.save("picture.txt", painter.encode())
        ctx.metrics(painted=1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ctx.check()
            time.sleep(0.01)
        return painter

    @task(budget=WITHOUT_END)
    def hog(self, ctx: RunContext, seconds: float = 5.0) -> str:
        """Hold the interpreter's lock nearly all the time."""
        ctx.metrics(begun=1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(20_000_000))
        return "done"

    @task(budget=Budget(crashes=3))
    def poison(self, ctx: RunContext) -> None:
        """Die as one does whom the kernel takes for out of memory."""
        os.kill(os.getpid(), signal.SIGKILL)


def step(digest: str, epoch: int) -> str:
    """Return the state after one epoch."""
    return hashlib.sha256(f"{digest}{epoch}".encode()).hexdigest()


def expected(name: str, epochs: int) -> str:
    """Return the result of an undisturbed run."""
    digest = name
    for epoch in range(1, epochs + 1):
        digest = step(digest, epoch)
    return digest
