"""What answers: a server or a model in this process. Both give the pieces that OpenAI's protocol streams."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from glowplug.errors import GlowplugError
from glowplug.model import RunContext
from glowplug.workloads.chat.values import Order

LOOK_SECONDS = 0.05
"""How long a silent engine may keep a caller from being heard that wants to stop."""

Chunk = Mapping[str, Any]
Told = Chunk | GlowplugError | None
"""A piece of the reply, or what went wrong, or None for the end."""


class Engine(Protocol):
    """Answers several orders at a time."""

    @property
    def name(self) -> str:
        """Return what to call it in messages."""
        ...

    def open(self) -> None:
        """Make sure that it can answer; raises what keeps it from that."""
        ...

    def begin(self, order: Order, tell: Callable[[Told], None]) -> Callable[[], object]:
        """Begin to answer, beside the caller: `tell` is called from elsewhere. What is returned stops it at once."""
        ...

    def check(self) -> None:
        """Raise if it could not answer now."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def chunks(ctx: RunContext, engine: Engine, order: Order) -> Iterator[Chunk]:
    """Give the pieces of the reply as they come; a caller that stops is heard while the engine is silent too."""
    told: queue.SimpleQueue[Told] = queue.SimpleQueue()
    stop = engine.begin(order, told.put)
    try:
        while True:
            ctx.check()
            try:
                heard = told.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if heard is None:
                return
            if isinstance(heard, GlowplugError):
                raise heard
            yield heard
    finally:
        stop()
