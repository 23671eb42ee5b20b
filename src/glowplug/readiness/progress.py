"""How far a load has come: stages, the counter inside a stage, and its rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from glowplug.readiness.state import Status
from glowplug.readiness.wire import Reader, present


class Stage(StrEnum):
    """The stages that every load knows; a model may name others of its own."""

    START = "start"
    IMPORT = "import"
    FETCH = "fetch"
    READ = "read"
    TO_DEVICE = "to device"
    WARM_UP = "warm up"


LONGEST_WORDS = 200
"""What a load says of itself is shown to every watcher, and its stages are remembered: both are bounded."""
_STATUSES = MappingProxyType({Stage.FETCH.value: Status.FETCHING, Stage.WARM_UP.value: Status.WARMING})
_WORDS = MappingProxyType(
    {
        Stage.START.value: "Starting",
        Stage.IMPORT.value: "Importing libraries",
        Stage.FETCH.value: "Downloading weights",
        Stage.READ.value: "Reading weights",
        Stage.TO_DEVICE.value: "Moving to the device",
        Stage.WARM_UP.value: "Warming up",
    }
)
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def status_of(stage: str) -> Status:
    """Return the status of a component that is in `stage`."""
    return _STATUSES.get(stage, Status.LOADING)


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage and the counter inside it; `done` never runs backwards within the stage.

    `unit` names what is counted ("bytes", "tensors"); `note` is a few words for people.
    """

    stage: str
    done: float = 0
    total: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def fraction(self) -> float | None:
        """Return the share of this stage that is done, None while its end is unknown."""
        if not self.total or self.total <= 0:
            return None
        return min(1.0, self.done / self.total)

    @property
    def words(self) -> str:
        """Return a line for people: "Reading weights, 4.1 of 9.8 GB"."""
        words = _WORDS.get(self.stage, self.stage[:1].upper() + self.stage[1:])
        if self.total:
            words += ", " + _counted(self.done, self.total, self.unit)
        return f"{words} ({self.note})" if self.note else words

    def advanced(
        self, done: float | None = None, total: float | None = None, unit: str | None = None, note: str | None = None
    ) -> Progress:
        """Return the progress after a report; what is None or not a number stays as it was."""
        return replace(
            self,
            done=max(self.done, _number(done, None) or 0.0),
            total=_number(total, self.total),
            unit=self.unit if unit is None else str(unit)[:LONGEST_WORDS],
            note=self.note if note is None else str(note)[:LONGEST_WORDS],
        )

    def counts_like(self, other: Progress) -> bool:
        """Say whether `other` counts the same thing to the same end, however far it is."""
        return (self.stage, self.total, self.unit, self.note) == (other.stage, other.total, other.unit, other.note)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        return {"stage": self.stage, **present(done=self.done, total=self.total, unit=self.unit, note=self.note)}

    @staticmethod
    def read(data: Reader) -> Progress:
        """Rebuild a progress from its plain form. Raises `InvalidInput`."""
        return Progress(
            stage=data.text("stage") or Stage.START,
            done=data.number("done") or 0.0,
            total=data.number("total"),
            unit=data.text("unit") or "",
            note=data.text("note") or "",
        )


def _number(value: float | None, otherwise: float | None) -> float | None:
    if value is None or not math.isfinite(value) or value < 0:
        return otherwise
    return value


def _counted(done: float, total: float, unit: str) -> str:
    if unit != "bytes":
        return f"{done:g} of {total:g} {unit}".rstrip()
    power = min(len(_BYTE_UNITS) - 1, int(math.log(max(total, 1), 1000)))
    scale = 1000.0**power
    digits = 1 if power else 0
    return f"{min(done, total) / scale:.{digits}f} of {total / scale:.{digits}f} {_BYTE_UNITS[power]}"
