"""The speed of a counter, followed over a recent window so that a changed speed is noticed."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
SPACING_SECONDS = 0.2
EARNED_SECONDS = 2.0
STEADY_RATIO = 1.5
"""Two halves of a window agree when neither is faster than the other by more than this."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A speed, and how far off it may be: `sigma` is the standard deviation of its logarithm."""

    per_second: float
    sigma: float


@dataclass(frozen=True, slots=True)
class RateWindow:
    """The recent past of a counter as (moment, done) pairs; a value of bounded size."""

    samples: tuple[tuple[float, float], ...] = ()

    def observed(self, at: float, done: float) -> RateWindow:
        """Return the window after the counter stood at `done` at the moment `at`; close repeats are left out."""
        if self.samples and at - self.samples[-1][0] < SPACING_SECONDS:
            return self
        recent = tuple(sample for sample in self.samples if at - sample[0] <= WINDOW_SECONDS)
        return RateWindow((*recent, (at, done)))

    def rate(self, now: float) -> Rate | None:
        """Return the speed up to `now`, None until it was watched for long enough or when nothing moves.

        The longest part of the window whose two halves agree is used: after a change of speed that is the part
        since the change. Time without a report counts as time without movement.
        """
        seconds = now - self.samples[0][0] if self.samples else 0.0
        if seconds < EARNED_SECONDS:
            return None
        # Ended by halving: what is too short to be cut again is taken as it is.
        while True:
            old, new = self._speed(now - seconds, now - seconds / 2), self._speed(now - seconds / 2, now)
            drift = abs(math.log(new / old)) if old and new else math.inf
            if drift <= math.log(STEADY_RATIO):
                return Rate((old + new) / 2, _sigma(drift, seconds))
            if seconds / 2 < EARNED_SECONDS:
                return Rate(new, _sigma(math.log(STEADY_RATIO), seconds / 2)) if new else None
            seconds /= 2

    def _speed(self, start: float, end: float) -> float:
        return (self._done_at(end) - self._done_at(start)) / (end - start)

    def _done_at(self, moment: float) -> float:
        before = self.samples[0]
        for after in self.samples[1:]:
            if after[0] >= moment:
                share = (moment - before[0]) / (after[0] - before[0])
                return before[1] + max(0.0, share) * (after[1] - before[1])
            before = after
        return before[1]


def _sigma(drift: float, seconds: float) -> float:
    return math.hypot(0.18, drift / 2, 0.2 / math.sqrt(seconds))
