"""What is expected of a load before it begins: its stages, their usual length and how much that varies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType

from glowplug.readiness.history import History, stage_of
from glowplug.readiness.progress import Progress, Stage

PRIOR_SIGMA = 0.27
"""How much a stage varies from load to load (standard deviation of its logarithm) until loads have shown it."""
PRIOR_WEIGHT = 6.0
"""How many loads that first guess counts for."""
SHORTEST_SECONDS = 0.001
FIRST_LOAD = MappingProxyType(
    {
        Stage.START.value: 0.2,
        Stage.IMPORT.value: 2.0,
        Stage.FETCH.value: 6.0,
        Stage.READ.value: 3.0,
        Stage.TO_DEVICE.value: 1.0,
        Stage.WARM_UP.value: 1.0,
    }
)
"""Stages of a model that was never loaded; only the proportions are meant."""
UNKNOWN_SHARE = 0.1
"""The part of the whole that a stage nobody heard of is taken for."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of one stage: its median seconds, the sigma of their logarithm, and from how many loads.

    `likely` says whether it is expected to happen in the next load.
    """

    stage: str
    seconds: float
    sigma: float
    loads: int
    likely: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a load in order; `loads` is the number of past loads behind it."""

    stages: tuple[Forecast, ...]
    loads: int = 0

    @staticmethod
    def of(history: History) -> Plan:
        """Learn from past loads; without any, the proportions of a first load."""
        if not history.loads:
            return _FIRST_PLAN
        return Plan(tuple(_forecast(stage, history) for stage in _order(history)), len(history.loads))

    @property
    def seconds(self) -> float:
        """Return the usual length of the whole."""
        return sum(forecast.seconds for forecast in self.stages if forecast.likely)

    def find(self, stage: str) -> Forecast | None:
        """Return what is known of `stage`."""
        return next((forecast for forecast in self.stages if forecast.stage == stage), None)

    def after(self, stage: str, entered: Collection[str]) -> tuple[Forecast, ...]:
        """Return the likely stages that come after `stage` and were not `entered`, even if `stage` is a new one."""
        gone = {*entered, stage}
        last = max((place for place, known in enumerate(self.stages) if known.stage in gone), default=-1)
        here = next((place for place, known in enumerate(self.stages) if known.stage == stage), last)
        return tuple(known for known in self.stages[here + 1 :] if known.likely and known.stage not in gone)

    def percent(self, progress: Progress, entered: Collection[str]) -> float:
        """Return how much of the whole is done, 0 to 100: finished stages by their usual time, then the counter."""
        gone = {*entered, progress.stage}
        ahead = sum(forecast.seconds for forecast in self.after(progress.stage, entered))
        whole = sum(forecast.seconds for forecast in self.stages if forecast.likely or forecast.stage in gone)
        here = self.find(progress.stage)
        current = here.seconds if here else whole * UNKNOWN_SHARE
        whole += 0 if here else current
        left = ahead + current * (1 - (progress.fraction or 0.0))
        return 100 * (1 - left / whole) if whole > 0 else 0.0


_FIRST_PLAN = Plan(
    tuple(
        Forecast(stage, seconds, sigma=math.inf, loads=0, likely=stage != Stage.FETCH)
        for stage, seconds in FIRST_LOAD.items()
    )
)


def _order(history: History) -> list[str]:
    # The newest load decides; what only older ones had is put behind the stage it followed there.
    order: list[str] = []
    for load in reversed(history.loads):
        place = 0
        for name, _ in load.stages:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order


def _forecast(stage: str, history: History) -> Forecast:
    logs = [math.log(seconds) for load in history.loads if (seconds := _seconds_of(load.stages, stage)) is not None]
    centre = statistics.median(logs)
    # Clipped, so that one load on a bad day neither moves the centre nor widens the band for the next twenty.
    deviations = [max(-3 * PRIOR_SIGMA, min(3 * PRIOR_SIGMA, value - centre)) for value in logs]
    centre += statistics.fmean(deviations)
    weight = PRIOR_WEIGHT + len(logs) - 1
    squares = PRIOR_WEIGHT * PRIOR_SIGMA**2 + sum(value * value for value in deviations)
    sigma = math.sqrt(squares / weight * (1 + 1 / len(logs)))
    return Forecast(stage, math.exp(centre), sigma, len(logs), _is_likely(stage, len(logs), len(history.loads)))


def _seconds_of(stages: tuple[tuple[str, float], ...], stage: str) -> float | None:
    times = [seconds for name, seconds in stages if name == stage]
    return max(SHORTEST_SECONDS, sum(times)) if times else None


def _is_likely(stage: str, seen: int, loads: int) -> bool:
    # What was downloaded once lies in the cache: one more download would be news.
    return seen * 2 > loads and (stage_of(stage) != Stage.FETCH or seen > 1)
