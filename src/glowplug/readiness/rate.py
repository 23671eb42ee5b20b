"""The speed of a counter, followed over a recent window so that a changed speed is noticed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

WINDOW_SECONDS = 10.0
SPACING_SECONDS = 0.2
EARNED_SECONDS = 1.0
FEWEST_SAMPLES = 6
STEADY_RATIO = 1.5
"""Two halves of a window agree when neither is faster than the other by more than this."""
LONG_PAUSE = 1.5
"""Silence is news when it is longer than the longest pause between reports by this factor."""
PAUSED_SIGMA = 0.5


@dataclass(frozen=True, slots=True)
class Rate:
    """A speed, and how far off it may be: `sigma` is the standard deviation of its logarithm.

    `silent_seconds` is how long it has gone on since the counter was last heard of.
    """

    per_second: float
    sigma: float
    silent_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RateWindow:
    """The recent past of a counter as (moment, done) pairs; a value of bounded size."""

    samples: tuple[tuple[float, float], ...] = ()

    def observed(self, at: float, done: float) -> RateWindow:
        """Return the window after the counter stood at `done` at the moment `at`; close repeats are left out."""
        if self.samples and at - self.samples[-1][0] < SPACING_SECONDS:
            return self
        recent = [sample for sample in self.samples if at - sample[0] <= WINDOW_SECONDS]
        kept = self.samples[-max(len(recent), FEWEST_SAMPLES) :]
        return RateWindow((*kept, (at, done)))

    def rate(self, now: float) -> Rate | None:
        """Return the speed up to `now`, None until it was watched for long enough or when nothing moves.

        The longest part of the window whose two halves agree is used: after a change of speed that is the part
        since the change. Silence counts as standing still once it is longer than the pauses seen before.
        """
        gap = max((after[0] - before[0] for before, after in itertools.pairwise(self.samples)), default=math.inf)
        if math.isinf(gap):
            return None
        first, last = self.samples[0][0], self.samples[-1][0]
        end = last if now - last <= LONG_PAUSE * gap else now
        seconds = end - max(first, end - max(WINDOW_SECONDS, 3 * gap))
        whole = self._speed(end - seconds, end) if seconds >= EARNED_SECONDS else 0.0
        if not whole:
            return None
        return replace(self._steadiest(end, seconds, max(EARNED_SECONDS, 2 * gap), whole), silent_seconds=now - end)

    def _steadiest(self, end: float, seconds: float, shortest: float, whole: float) -> Rate:
        middle = end - seconds / 2
        old, new = self._speed(end - seconds, middle), self._speed(middle, end)
        drift = abs(math.log(new / old)) if old and new else math.inf
        if drift <= math.log(STEADY_RATIO):
            return Rate((old + new) / 2, _sigma(drift, seconds))
        if seconds / 2 >= shortest:
            return self._steadiest(end, seconds / 2, shortest, whole)
        # A pause that has only begun may be over in a moment: the whole window is the better witness.
        return Rate(new, _sigma(math.log(STEADY_RATIO), seconds / 2)) if new else Rate(whole, PAUSED_SIGMA)

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
