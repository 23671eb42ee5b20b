"""One attempt to become ready, as a value: every report makes a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from glowplug.readiness.estimate import Estimate, Standing, estimate
from glowplug.readiness.history import Load
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import Progress, Stage
from glowplug.readiness.rate import RateWindow

NEARLY_PERCENT = 99.0
"""The most that a load shows before it is ready."""
_START = Progress(Stage.START)
_UNWATCHED = RateWindow()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of the attempt `number`; moments are seconds of one monotonic clock.

    `active` is the last sign of life, `spent` the seconds in stages that are over, in order. `percent` is what
    was shown so far and never falls.
    """

    number: int
    plan: Plan
    began: float
    stage_began: float
    active: float
    progress: Progress = _START
    spent: Mapping[str, float] = field(default_factory=dict)
    window: RateWindow = _UNWATCHED
    percent: float = 0.0

    @staticmethod
    def begun(number: int, plan: Plan, now: float) -> Attempt:
        """Return an attempt that begins now, in the stage `start`."""
        return Attempt(number, plan, began=now, stage_began=now, active=now)

    def alive(self, now: float) -> Attempt:
        """Return the attempt after a sign of life without news."""
        return replace(self, active=now)

    def entered(self, stage: str, now: float) -> Attempt:
        """Return the attempt after it went on to `stage`; naming the running stage again is a sign of life."""
        if stage == self.progress.stage:
            return self.alive(now)
        spent, progress = self._spent_by(now), Progress(stage)
        percent = self._percent(progress, spent)
        return replace(
            self,
            stage_began=now,
            active=now,
            progress=progress,
            spent=spent,
            window=_UNWATCHED,
            percent=percent,
        )

    def advanced(self, now: float, progress: Progress) -> Attempt:
        """Return the attempt after the counter of the running stage moved."""
        window = self.window.observed(now, progress.done)
        percent = self._percent(progress, self.spent)
        return replace(self, active=now, progress=progress, window=window, percent=percent)

    def estimate(self, now: float) -> Estimate | None:
        """Return the time left, None until it is earned."""
        # A stage may be entered twice; its length is the sum, as in the records it is compared with.
        before = self.spent.get(self.progress.stage, 0.0)
        others = {stage: seconds for stage, seconds in self.spent.items() if stage != self.progress.stage}
        standing = Standing(self.progress, before + now - self.stage_began, others, self.window.rate(now))
        return estimate(self.plan, standing)

    def load(self, now: float) -> Load:
        """Return the record of this attempt as one that ends now."""
        return Load(tuple(self._spent_by(now).items()))

    def _spent_by(self, now: float) -> dict[str, float]:
        stage = self.progress.stage
        return {**self.spent, stage: self.spent.get(stage, 0.0) + now - self.stage_began}

    def _percent(self, progress: Progress, spent: Mapping[str, float]) -> float:
        return max(self.percent, min(NEARLY_PERCENT, self.plan.percent(progress, spent)))
