"""When a load is given up: too long in all, too long in its warm-up, or too long without a sign of life."""

from __future__ import annotations

from dataclasses import dataclass

from glowplug.readiness.attempt import Attempt
from glowplug.readiness.progress import Stage


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a load may take, how long its warm-up, and how long it may show no sign of life."""

    startup_seconds: float = 900.0
    warm_up_seconds: float = 60.0
    stall_seconds: float = 300.0

    def of(self, attempt: Attempt) -> tuple[float, str]:
        """Return the monotonic moment at which `attempt` is overdue if nothing more is heard of it, and why then.

        The warm-up has a bound of its own in place of the one for the whole; the bound on silence moves with every
        sign of life.
        """
        outer = (attempt.began + self.startup_seconds, "Model loading timeout")
        if attempt.progress.stage == Stage.WARM_UP:
            outer = (attempt.stage_began + self.warm_up_seconds, "Model warm-up timeout")
        doing = attempt.progress.words[:1].lower() + attempt.progress.words[1:]
        silence = f"Model loading stalled: no sign of life for {self.stall_seconds:g} s while {doing}"
        return min(outer, (attempt.active + self.stall_seconds, silence))


DEFAULT_DEADLINES = Deadlines()
