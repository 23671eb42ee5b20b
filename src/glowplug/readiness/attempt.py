"""One attempt to become ready, as a value: every report makes a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from glowplug.readiness.estimate import Estimate, Standing, estimate
from glowplug.readiness.history import Load, stage_of, visit_name
from glowplug.readiness.plan import Plan
from glowplug.readiness.progress import Progress, Stage
from glowplug.readiness.rate import RateWindow

NEARLY_PERCENT = 99.0
"""The most that a load shows before it is ready."""
MOST_STAGES = 64
"""Records call further stages of a load's own `other`: a name for each of ten thousand tensors teaches nothing."""
OTHER = "other"
_WELL_KNOWN = frozenset(stage.value for stage in Stage)
_START = Progress(Stage.START)
_UNWATCHED = RateWindow()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of the attempt `number`; moments are seconds of one monotonic clock.

    `active` is the last sign of life. `visit` is the running stage as records call it (see `visit_name`), `spent` the
    seconds in visits that are over, in order. `percent` is what was shown so far and never falls.
    """

    number: int
    plan: Plan
    began: float
    stage_began: float
    active: float
    progress: Progress = _START
    visit: str = Stage.START.value
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
        spent = self._spent_by(now)
        entered = replace(
            self,
            stage_began=now,
            active=now,
            progress=Progress(stage),
            visit=_recorded(stage, spent),
            spent=spent,
            window=_UNWATCHED,
        )
        return _shown(entered)

    def advanced(self, now: float, progress: Progress) -> Attempt:
        """Return the attempt after the counter of the running stage moved."""
        window = self.window.observed(now, progress.done)
        return _shown(replace(self, active=now, progress=progress, window=window))

    def estimate(self, now: float) -> Estimate | None:
        """Return the time left, None until it is earned."""
        progress, spent = _planned(self)
        # What the plan takes for one stage may be entered twice; its length is the sum.
        seconds = spent.pop(progress.stage, 0.0) + now - self.stage_began
        return estimate(self.plan, Standing(progress, seconds, spent, self.window.rate(now)))

    def load(self, now: float) -> Load:
        """Return the record of this attempt as one that ends now."""
        return Load(tuple(self._spent_by(now).items()))

    def _spent_by(self, now: float) -> dict[str, float]:
        return {**self.spent, self.visit: self.spent.get(self.visit, 0.0) + now - self.stage_began}


def _recorded(stage: str, spent: Mapping[str, float]) -> str:
    visit = visit_name(stage, spent)
    return OTHER if len(spent) >= MOST_STAGES and visit not in spent and stage not in _WELL_KNOWN else visit


def _shown(attempt: Attempt) -> Attempt:
    percent = min(NEARLY_PERCENT, attempt.plan.percent(*_planned(attempt)))
    return replace(attempt, percent=max(attempt.percent, percent))


def _planned(attempt: Attempt) -> tuple[Progress, dict[str, float]]:
    """Return the progress and the time spent by the names of the plan: visits that it does not know are joined."""

    def known(visit: str) -> str:
        return visit if attempt.plan.find(visit) else stage_of(visit)

    spent: dict[str, float] = {}
    for visit, seconds in attempt.spent.items():
        spent[known(visit)] = spent.get(known(visit), 0.0) + seconds
    return replace(attempt.progress, stage=known(attempt.visit)), spent
