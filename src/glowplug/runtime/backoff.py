"""How long to wait before asking again somebody who did not answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from glowplug.clock import Clock
from glowplug.errors import DeadlineExceeded, Unreachable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full-jitter back-off: uniform between 0 and min(cap, base · 2^n) seconds.

    AWS Architecture Blog, "Exponential Backoff And Jitter". `random` returns a number from 0 to 1.
    """

    base_seconds: float = 0.1
    cap_seconds: float = 2.0
    random: Callable[[], float] = field(default=random.random)

    def delay_seconds(self, failures: int) -> float:
        """Return the pause after the `failures`-th failure in a row, the first being 1."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))
        return ceiling * self.random()


async def until_reached(attempt: Callable[[], Awaitable[T]], clock: Clock, backoff: Backoff) -> T:
    """Repeat `attempt` until the other side answers; what it answers, errors too, is the end of it."""
    failures = 0
    while True:
        try:
            return await attempt()
        except (Unreachable, DeadlineExceeded):
            failures += 1
        await clock.sleep(backoff.delay_seconds(failures))
