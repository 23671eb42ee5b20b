"""What past loads took: values, and functions from values to values."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from glowplug.errors import Corrupt

KEPT_LOADS = 20
MOST_VISITS = 20
"""Further visits of one stage are added to the last."""
_AGAIN = "~"


def visit_name(stage: str, earlier: Container[str]) -> str:
    """Return what records call a visit of `stage` after the visits `earlier`: "read", the second time "read~2".

    A load may come back to a stage; what lies ahead is then not what lay ahead the first time.
    """
    names = [stage, *(f"{stage}{_AGAIN}{number}" for number in range(2, MOST_VISITS + 1))]
    return next((name for name in names if name not in earlier), names[-1])


def stage_of(visit: str) -> str:
    """Return the stage that was visited."""
    stage, again, number = visit.rpartition(_AGAIN)
    return stage if again and number.isdecimal() else visit


@dataclass(frozen=True, slots=True)
class Load:
    """One load that became ready: its visits of stages in order (see `visit_name`), with the seconds each took."""

    stages: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        """Return how long the whole load took."""
        return sum(seconds for _, seconds in self.stages)

    @property
    def by_stage(self) -> dict[str, float]:
        """Return the seconds of each stage, its visits added up: parts that make the whole."""
        phases: dict[str, float] = {}
        for visit, seconds in self.stages:
            phases[stage_of(visit)] = phases.get(stage_of(visit), 0.0) + seconds
        return phases


@dataclass(frozen=True, slots=True)
class History:
    """The last loads of one model on one device, oldest first."""

    loads: tuple[Load, ...] = ()

    def with_load(self, load: Load) -> History:
        """Return the history after one more load, the oldest forgotten beyond the last twenty."""
        return History((*self.loads, load)[-KEPT_LOADS:])

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        return {"loads": [[[name, round(seconds, 4)] for name, seconds in load.stages] for load in self.loads]}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> History:
        """Rebuild a history; raises `Corrupt` when `data` is not one."""
        try:
            loads = [Load(tuple((str(name), _checked(s)) for name, s in stages)) for stages in data["loads"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"not a load history: {error!r}") from error
        return History(tuple(loads[-KEPT_LOADS:]))


def _checked(seconds: Any) -> float:
    if not 0 <= float(seconds) < math.inf:
        raise ValueError(f"no length of time: {seconds!r}")
    return float(seconds)


def history_key(model: str, device: str) -> str:
    """Return the key under which loads of `model` on `device` are comparable."""
    return f"{model}@{device}"


class Histories(Protocol):
    """Where histories are kept; used from any thread, and never raises."""

    def past(self, key: str) -> History:
        """Return the history under `key`, empty when there is none."""

    def record(self, key: str, load: Load) -> None:
        """Add a load to the history under `key`."""


class MemoryHistories:
    """Histories for the life of the process."""

    def __init__(self) -> None:
        self._known: dict[str, History] = {}

    def past(self, key: str) -> History:
        """Return the history under `key`, empty when there is none."""
        return self._known.get(key, History())

    def record(self, key: str, load: Load) -> None:
        """Add a load to the history under `key`."""
        self._known[key] = self.past(key).with_load(load)
