"""Takes as many megabytes as option `megabytes` says; with option `sleeps` it moves them away and back."""

import time
from collections.abc import Mapping
from pathlib import Path

from glowplug import LoadContext, Model, RunContext, task

MEGABYTE = 1 << 20


class Sized(Model):
    def load(self, ctx: LoadContext) -> None:
        self.megabytes = int(ctx.options["megabytes"])
        self.room = bytearray(b"x") * (self.megabytes * MEGABYTE)
        self.wakes = 0
        self.room_bytes = ctx.room_bytes or 0

    @task
    def size(self, ctx: RunContext) -> list[int]:
        """Say how much lies on the device, and how often it came back."""
        return [len(self.room) // MEGABYTE, self.wakes]

    @task
    def room(self, ctx: RunContext) -> int:
        """Say how many megabytes it was told there are for it."""
        return self.room_bytes // MEGABYTE

    @task
    def hold(self, ctx: RunContext, until: str) -> str:
        """Wait for a file."""
        while not Path(until).exists():
            time.sleep(0.01)
        return "done"


class Sleeper(Sized):
    def sleep(self) -> None:
        self.room = bytearray()

    def wake(self) -> None:
        self.room = bytearray(b"x") * (self.megabytes * MEGABYTE)
        self.wakes += 1


class Insomniac(Sleeper):
    def sleep(self) -> None:
        raise RuntimeError("the copy failed")


class Drowsy(Sleeper):
    def wake(self) -> None:
        raise RuntimeError("the copy back failed")


class Coma(Sleeper):
    def sleep(self) -> None:
        time.sleep(60)


class Warming(Sleeper):
    """A second warm-up waits for a file, and says whether the model was moved away meanwhile."""

    slots = 2
    gate: Path | None = None

    def warm_up(self, ctx: LoadContext) -> None:
        while self.gate is not None and not self.gate.exists():
            time.sleep(0.01)
        if not self.room:
            raise RuntimeError("moved away")

    @task
    def close_gate(self, ctx: RunContext, until: str) -> None:
        """Let warm-ups wait for a file from now on."""
        self.gate = Path(until)


class Knowing(Sized):
    @classmethod
    def estimate(cls, weights: Mapping[str, Path], options: Mapping[str, str]) -> int | None:
        return int(options["megabytes"]) * MEGABYTE


class Liar(Sized):
    @classmethod
    def estimate(cls, weights: Mapping[str, Path], options: Mapping[str, str]) -> int | None:
        return 10 * MEGABYTE


class KnowingSleeper(Knowing, Sleeper):
    """Both."""
