"""One component at one moment: frozen, with its plain form for a wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from glowplug.readiness.estimate import Estimate
from glowplug.readiness.progress import Progress
from glowplug.readiness.state import Gates, Status
from glowplug.readiness.wire import Reader, present, written


class ErrorClass(StrEnum):
    """What kind of thing went wrong."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    OUT_OF_MEMORY = "out_of_memory"
    STALLED = "stalled"

    @staticmethod
    def of(word: str) -> ErrorClass:
        """Return the class called `word`; a word from a newer or foreign side counts as permanent."""
        return ErrorClass(word) if word in tuple(ErrorClass) else ErrorClass.PERMANENT

    @property
    def retryable(self) -> bool:
        """Say whether the same load may well succeed when it is tried again."""
        return self in (ErrorClass.TRANSIENT, ErrorClass.STALLED)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a component is not ready: a sentence for people, a class and a hint for machines."""

    error: str
    error_class: ErrorClass = ErrorClass.PERMANENT
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Timings:
    """What the last successful load took; `loaded_at` is the wall time at which the loading was over."""

    loaded_at: datetime | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None


NOT_LOADED = Timings()


@dataclass(frozen=True, slots=True)
class ComponentSnapshot:
    """One component at one moment; what is not known is None.

    `weight_seconds` is the usual length of its load, by which it counts in the whole; `loading_seconds` is how long
    the running attempt has lasted. `failure` may stand beside a status that is not `error`: the last thing that went
    wrong while the next attempt is awaited.
    """

    name: str
    label: str = ""
    status: Status = Status.PENDING
    required: bool = True
    gates: Gates = Gates.ALWAYS
    model: str | None = None
    device: str | None = None
    attempt: int = 0
    was_ready: bool = False
    percent: float = 0.0
    weight_seconds: float = 1.0
    progress: Progress | None = None
    estimate: Estimate | None = None
    loading_seconds: float | None = None
    timings: Timings = NOT_LOADED
    reason: str | None = None
    failure: Failure | None = None

    @property
    def error_sentence(self) -> str | None:
        """Return what is wrong, as older clients show it: "TTS initialization failed: Out of memory"."""
        if not self.status.is_failed or (self.failure is None and not self.required):
            return None
        what = "service unavailable" if self.gates is Gates.START else "initialization failed"
        why = self.failure.error if self.failure else self.reason
        return f"{self.label or self.name} {what}: {why}"

    def aged(self, seconds: float) -> ComponentSnapshot:
        """Return the component as it is to be expected `seconds` later, without news from it."""
        if not self.status.is_running:
            return self
        estimate = self.estimate.aged(seconds) if self.estimate else None
        loading = None if self.loading_seconds is None else self.loading_seconds + seconds
        return replace(self, estimate=estimate, loading_seconds=loading)

    @property
    def estimated_seconds(self) -> int | None:
        """Return the median of the time left in whole seconds, None until it is earned."""
        return None if self.estimate is None else self.estimate.seconds

    def service(self) -> dict[str, Any]:
        """Return the entry for `services` in the documented bodies; absent facts are absent."""
        progress, failure, timings = self.progress, self.failure, self.timings
        return {
            "ready": self.status.can_serve,
            "status": self.status.value,
            "required": self.required,
            **present(
                label=self.label,
                model=self.model,
                loaded_at=written(timings.loaded_at),
                load_time_ms=timings.load_time_ms,
                warmup_time_ms=timings.warmup_time_ms,
                progress=int(self.percent) if self.attempt else None,
                estimated_seconds=self.estimated_seconds,
                estimated_seconds_p90=self.estimate and self.estimate.seconds_p90,
                loading_seconds=self.loading_seconds and round(self.loading_seconds, 1),
                reason=self.reason,
                error=failure and failure.error,
                error_class=failure and failure.error_class.value,
                retryable=failure and failure.retryable,
                attempt=self.attempt if self.attempt > 1 else None,
                stage=progress and progress.stage,
                message=progress and progress.words,
            ),
            **(
                present(done=progress.done, total=progress.total, unit=progress.unit)
                if progress and progress.total
                else {}
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON; `from_dict` reads it back."""
        progress, failure, timings = self.progress, self.failure, self.timings
        return present(
            name=self.name,
            label=self.label,
            status=self.status.value,
            required=self.required,
            gates=self.gates.value,
            model=self.model,
            device=self.device,
            attempt=self.attempt,
            was_ready=self.was_ready,
            percent=round(self.percent, 2),
            weight_seconds=round(self.weight_seconds, 3),
            progress=progress and progress.to_dict(),
            estimate=self.estimate and self.estimate.to_dict(),
            loading_seconds=self.loading_seconds and round(self.loading_seconds, 3),
            loaded_at=written(timings.loaded_at),
            load_time_ms=timings.load_time_ms,
            warmup_time_ms=timings.warmup_time_ms,
            reason=self.reason,
            error=failure and failure.error,
            error_class=failure and failure.error_class.value,
            retryable=failure and failure.retryable,
        )

    @staticmethod
    def read(data: Reader) -> ComponentSnapshot:
        """Rebuild a component from its plain form; unknown fields are ignored. Raises `InvalidInput`."""
        error = data.text("error")
        timings = Timings(data.moment("loaded_at"), data.number("load_time_ms"), data.number("warmup_time_ms"))
        error_class = data.word("error_class", ErrorClass, ErrorClass.PERMANENT)
        return ComponentSnapshot(
            name=data.text("name") or "",
            label=data.text("label") or "",
            status=data.word("status", Status, Status.PENDING),
            required=data.flag("required"),
            gates=data.word("gates", Gates, Gates.ALWAYS),
            model=data.text("model"),
            device=data.text("device"),
            attempt=int(data.number("attempt") or 0),
            was_ready=data.flag("was_ready"),
            percent=min(100.0, max(0.0, data.number("percent") or 0.0)),
            weight_seconds=max(0.0, data.number("weight_seconds") or 0.0),
            progress=data.part("progress", Progress.read),
            estimate=data.part("estimate", Estimate.read),
            loading_seconds=data.number("loading_seconds"),
            timings=timings,
            reason=data.text("reason"),
            failure=None if error is None else Failure(error, error_class, data.flag("retryable")),
        )
