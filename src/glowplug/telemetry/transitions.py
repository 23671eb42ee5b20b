"""From a board's transitions to the events of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from glowplug.events import emit
from glowplug.readiness.history import Load
from glowplug.readiness.progress import Stage
from glowplug.readiness.spec import Transition
from glowplug.readiness.state import Status

WHOLE_BOARD = "all"
OTHER = "other"
MOST_PHASES = 20
"""Further stages of one load are told as one, `other`: each phase is a series of its own in the metrics."""


class BoardEvents:
    """Tells what happens to a board's components and, under the name `all`, to the whole."""

    def __call__(self, transition: Transition) -> None:
        """Emit the events that a transition stands for."""
        name = transition.component or WHOLE_BOARD
        old, new = str(transition.old), str(transition.new)
        emit("component.transition", component=name, state=new, previous=old, seconds=round(transition.seconds, 3))
        if not transition.component:
            return
        if new == Status.READY:
            _tell_load(name, transition.load)
        elif new == Status.ERROR or (new == Status.PENDING and transition.failure):
            # PENDING with a failure: a new attempt comes by itself, and the one before failed all the same.
            _tell_failure(transition)


def _tell_load(name: str, load: Load | None) -> None:
    if load is None:
        emit("component.ready", component=name, load_seconds=None, warmup_seconds=None, total_seconds=None)
        return
    phases = {stage: round(seconds, 3) for stage, seconds in _bounded(load.by_stage).items()}
    for stage, seconds in phases.items():
        emit("component.phase", component=name, phase=stage, seconds=seconds)
    # The sum of what was told, not the exact total: the phases are its parts to the last digit.
    total, warmup = sum(phases.values()), phases.get(Stage.WARM_UP, 0.0)
    emit(
        "component.ready",
        component=name,
        load_seconds=round(total - warmup, 3),
        warmup_seconds=warmup,
        total_seconds=round(total, 3),
    )


def _bounded(phases: Mapping[str, float]) -> dict[str, float]:
    if len(phases) <= MOST_PHASES:
        return dict(phases)
    kept = sorted(phases, key=lambda stage: (stage == Stage.WARM_UP, phases[stage]), reverse=True)[: MOST_PHASES - 1]
    told = {stage: seconds for stage, seconds in phases.items() if stage in kept}
    return {**told, OTHER: sum(phases.values()) - sum(told.values())}


def _tell_failure(transition: Transition) -> None:
    failure = transition.failure
    error = failure.error if failure else "unknown"
    if transition.old == Status.READY:
        emit("component.lost", component=transition.component, error=error)
        return
    emit(
        "component.failed",
        component=transition.component,
        error=error,
        error_class=failure.error_class.value if failure else "permanent",
        attempt=transition.attempt,
    )
