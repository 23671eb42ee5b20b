"""How long until ready: past loads and the speed of the moment, as a median with a band.

A stage's length is taken as lognormal. Three sources are joined: what the stage took in the past, how much slower
than usual this load has been so far, and the speed of the counter in the stage that runs. The sum of what is left is
fitted by a lognormal with the same mean and variance (Fenton 1960).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from glowplug.readiness.plan import PRIOR_SIGMA, SHORTEST_SECONDS, UNKNOWN_SHARE, Forecast, Plan
from glowplug.readiness.progress import Progress
from glowplug.readiness.rate import Rate
from glowplug.readiness.wire import Reader, present

BAND_Z = NormalDist().inv_cdf(0.9) * 1.2
"""Distance of the band's ends from the median; a little wide, because the model of a load is never quite right."""
COMMON_SHARE = 0.3
"""The part of a stage's variance that all stages of one load share: a busy machine, a slow disk."""
JITTER_SECONDS = 0.05
"""What the shortest stage varies by, whatever its length."""
NEW_STAGE_SIGMA = 0.8
EARNED_SECONDS = 2.0
"""How long the counter of a first load must have run: its speed is the only witness."""
REFUTED_Z = 3.0
"""A stage that has run longer than this many sigmas is judged by its own elapsed time."""
MOST_DOUBT = 2.0
"""The most that a band grows when past and present disagree: past that, the present alone is believed."""
LONGEST_SECONDS = 1e9
"""What no estimate goes beyond, thirty years: a counter may name any end, and squares of it would not be numbers."""
_NORMAL = NormalDist()
_FIELDS = ("p10_seconds", "p50_seconds", "p90_seconds")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until ready: the median and the band from the tenth to the ninetieth percentile.

    `overrun` is a sentence once a load takes longer than usual, else empty.
    """

    p10_seconds: float
    p50_seconds: float
    p90_seconds: float
    overrun: str = ""

    @property
    def seconds(self) -> int:
        """Return the median in whole seconds, at least one."""
        return max(1, math.ceil(self.p50_seconds))

    @property
    def seconds_p90(self) -> int:
        """Return the band's far end in whole seconds, at least one."""
        return max(1, math.ceil(self.p90_seconds))

    def aged(self, seconds: float) -> Estimate:
        """Return what is left of the estimate after `seconds` without news; never less than nothing."""
        low, middle, high = (max(0.0, getattr(self, name) - seconds) for name in _FIELDS)
        return Estimate(low, middle, high, self.overrun)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        values = {name: round(getattr(self, name), 3) for name in _FIELDS}
        return {**values, **present(overrun=self.overrun)}

    @staticmethod
    def read(data: Reader) -> Estimate:
        """Rebuild an estimate from its plain form. Raises `InvalidInput`."""
        low, middle, high = (max(0.0, data.number(name) or 0.0) for name in _FIELDS)
        return Estimate(low, middle, high, data.text("overrun") or "")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a load stands: the stages it has left with their seconds, and the one it is in."""

    progress: Progress
    stage_seconds: float = 0.0
    spent: Mapping[str, float] = field(default_factory=dict)
    rate: Rate | None = None

    @property
    def seconds(self) -> float:
        """Return how long the load has run."""
        return sum(self.spent.values()) + self.stage_seconds


@dataclass(frozen=True, slots=True)
class _Pace:
    """How much slower than usual this load is: its logarithm, and the variance of that."""

    log: float
    variance: float


@dataclass(frozen=True, slots=True)
class _Left:
    """A part of the time left: mean and variance of its seconds, and how many of them follow the load's pace.

    `paced` is the growth of the part, in seconds, for a load that is slower by a factor of e.
    """

    mean: float
    variance: float
    paced: float = 0.0

    @property
    def median(self) -> float:
        """Return the median of the lognormal that has this mean and variance."""
        return self.mean / math.sqrt(1 + self.variance / self.mean**2)


def estimate(plan: Plan, standing: Standing | None = None) -> Estimate | None:
    """Return the time left of a load, or of one that has not begun; None until it is earned.

    It is earned by at least one past load, or by a steady speed towards a known end.
    """
    if plan.loads == 0:
        return _first_load(plan, standing) if standing else None
    if standing is None:
        return _band(_ahead([known for known in plan.stages if known.likely], _pace(plan, {})))
    pace = _pace(plan, standing.spent)
    rest = plan.after(standing.progress.stage, standing.spent)
    current, ahead = _current(plan, standing, pace), _ahead(rest, pace)
    # A slow stage now makes slow stages later likely: the two do not average out.
    shared = _Left(0.0, 2 * current.paced * ahead.paced * pace.variance)
    return _band(current, ahead, shared, overrun=_overrun(plan, standing))


def together(running: Iterable[Estimate | None], waiting: Iterable[Estimate | None]) -> Estimate | None:
    """Join the estimates of several loads: those that run end with the slowest, those that wait come after.

    None as soon as one of them is unknown, or when there are none.
    """
    at_once, later = list(running), list(waiting)
    known = [one for one in (*at_once, *later) if one is not None]
    if not known or len(known) < len(at_once) + len(later):
        return None

    def joined(value: Callable[[Estimate], float]) -> float:
        slowest = max((value(one) for one in at_once if one), default=0.0)
        return slowest + sum(value(one) for one in later if one)

    return Estimate(
        joined(lambda one: one.p10_seconds),
        joined(lambda one: one.p50_seconds),
        joined(lambda one: one.p90_seconds),
        overrun=next((one.overrun for one in known if one.overrun), ""),
    )


def _first_load(plan: Plan, standing: Standing) -> Estimate | None:
    progress, rate, live = standing.progress, standing.rate, _live(standing)
    if rate is None or live is None or not progress.total or progress.done >= progress.total:
        return None
    if standing.stage_seconds < EARNED_SECONDS:
        return None
    here = plan.find(progress.stage)
    whole = progress.total / rate.per_second
    scale = whole / (here.seconds if here else plan.seconds * UNKNOWN_SHARE)
    rest = plan.after(progress.stage, standing.spent)
    ahead = [_lognormal(math.log(known.seconds * scale), NEW_STAGE_SIGMA) for known in rest]
    return _band(live, *ahead)


def _live(standing: Standing) -> _Left | None:
    """Return what the counter's speed says of the current stage."""
    progress, rate = standing.progress, standing.rate
    if rate is None or not progress.total:
        return None
    left = (progress.total - progress.done) / rate.per_second - rate.silent_seconds
    return _lognormal(math.log(left), rate.sigma) if left > 0 else _Left(0.0, 0.0)


def _pace(plan: Plan, spent: Mapping[str, float]) -> _Pace:
    """Learn from the stages that are over how this load compares with the past ones.

    The posterior of a normal mean: each stage is an observation, less weighty the shorter and the less regular it is.
    """
    known = [(found, seconds) for stage, seconds in spent.items() if (found := plan.find(stage))]
    precision = 1 / (COMMON_SHARE * PRIOR_SIGMA**2)
    weighted = 0.0
    for forecast, seconds in known:
        variance = _own_variance(forecast) + (JITTER_SECONDS / forecast.seconds) ** 2
        precision += 1 / variance
        weighted += math.log(max(seconds, SHORTEST_SECONDS) / forecast.seconds) / variance
    return _Pace(weighted / precision, 1 / precision)


def _own_variance(forecast: Forecast) -> float:
    return forecast.sigma**2 * (1 - COMMON_SHARE)


def _ahead(stages: Iterable[Forecast], pace: _Pace) -> _Left:
    """Add up stages that have not begun; the pace is common to them, so its variance does not average out."""
    means, own = [], 0.0
    for forecast in stages:
        variance = _own_variance(forecast)
        mean = forecast.seconds * math.exp(pace.log + (variance + pace.variance) / 2)
        means.append(mean)
        own += mean**2 * math.expm1(variance)
    total = sum(means)
    return _Left(total, own * math.exp(pace.variance) + total**2 * math.expm1(pace.variance), total)


def _current(plan: Plan, standing: Standing, pace: _Pace) -> _Left:
    """Return what is left of the stage that runs, by its counter where it has one, else by its elapsed time."""
    forecast, live = plan.find(standing.progress.stage), _live(standing)
    if forecast is None:
        # Nothing is known of it: it is taken to be half over, within a wide band.
        return live or _lognormal(math.log(max(standing.stage_seconds, SHORTEST_SECONDS)), NEW_STAGE_SIGMA)
    mu = math.log(forecast.seconds) + pace.log
    sigma = math.sqrt(_own_variance(forecast) + pace.variance)
    fraction = standing.progress.fraction
    if live is None or fraction is None:
        return _remaining(mu, sigma, standing.stage_seconds)
    # All counted: what is left of the stage cannot be seen, and is mostly nothing.
    if live.mean <= 0 or fraction >= 1 or standing.rate is None:
        return _Left(0.0, 0.0)
    return _joined(math.log(live.median), standing.rate.sigma, mu + math.log(1 - fraction), sigma)


def _joined(live: float, live_sigma: float, past: float, past_sigma: float) -> _Left:
    """Return what the speed of the moment and the past say together, each given as a logarithm and its sigma.

    Where they are further apart than both allow, the past is not today's: it counts less, and the band grows by the
    disagreement (Birge 1932), within reason.
    """
    doubt = max(1.0, abs(live - past) / math.hypot(live_sigma, past_sigma))
    weight = (live_sigma / (past_sigma * doubt)) ** 2
    width = min(doubt, MOST_DOUBT) * live_sigma / math.sqrt(1 + weight)
    return _lognormal((live + weight * past) / (1 + weight), width)


def _lognormal(mu: float, sigma: float) -> _Left:
    mean = math.exp(min(mu, math.log(LONGEST_SECONDS)) + sigma**2 / 2)
    return _Left(mean, mean**2 * math.expm1(sigma**2))


def _remaining(mu: float, sigma: float, elapsed: float) -> _Left:
    """Return what is left of a lognormal time that has already lasted `elapsed` seconds."""
    if elapsed <= 0:
        elapsed = SHORTEST_SECONDS
    # Beyond that the past is refuted, and the tail of a lognormal would promise an end any moment now.
    z = min(REFUTED_Z, (math.log(elapsed) - mu) / sigma)
    mu = math.log(elapsed) - z * sigma
    survival = _NORMAL.cdf(-z)
    mean = math.exp(mu + sigma**2 / 2) * _NORMAL.cdf(sigma - z) / survival
    square = math.exp(2 * mu + 2 * sigma**2) * _NORMAL.cdf(2 * sigma - z) / survival
    variance = max(0.0, square - mean**2)
    return _Left(max(0.0, mean - elapsed), variance, math.sqrt(variance) / sigma)


def _band(*parts: _Left, overrun: str = "") -> Estimate:
    mean, variance = sum(part.mean for part in parts), sum(part.variance for part in parts)
    if mean <= 0:
        return Estimate(0.0, 0.0, 0.0, overrun)
    spread = math.log1p(variance / mean**2)
    middle, width = math.log(mean) - spread / 2, BAND_Z * math.sqrt(spread)
    return Estimate(math.exp(middle - width), math.exp(middle), math.exp(middle + width), overrun)


def _overrun(plan: Plan, standing: Standing) -> str:
    usual = estimate(plan)
    if usual is None or standing.seconds <= usual.p90_seconds:
        return ""
    return f"Longer than usual: {_seconds(standing.seconds)}, usually under {_seconds(usual.p90_seconds)}"


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"
