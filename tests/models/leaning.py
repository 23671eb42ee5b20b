"""Leans on a server, which is up as long as the file `server` is there; its content says how it fails otherwise."""

import time
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task


class Leaning(Model):
    check_seconds = 0.02

    def load(self, ctx: LoadContext) -> None:
        self.server = Path(ctx.options["server"])

    def check(self) -> None:
        said = self.server.read_text()
        if said:
            raise ConnectionRefusedError(said)

    @task
    def ask(self, ctx: RunContext) -> str:
        """Ask the server."""
        return "yes"

    @task
    def hold(self, ctx: RunContext, until: str) -> str:
        """Wait for a file."""
        while not Path(until).exists():
            time.sleep(0.01)
        return "done"
