"""From a board's transitions to the events of the catalogue."""

from __future__ import annotations

from collections import defaultdict

from glowplug.events import emit
from glowplug.readiness.spec import Transition
from glowplug.readiness.state import Status

WHOLE_BOARD = "all"
_LOADS = (Status.FETCHING, Status.LOADING)


class BoardEvents:
    """Tells what happens to one board. It adds up the time of an attempt's stages, so each board has its own."""

    def __init__(self) -> None:
        self._load_seconds: dict[str, float] = defaultdict(float)

    def __call__(self, transition: Transition) -> None:
        """Emit the events that a transition stands for."""
        name = transition.component or WHOLE_BOARD
        old, new, seconds = str(transition.old), str(transition.new), round(transition.seconds, 3)
        emit("component.transition", component=name, state=new, previous=old, seconds=seconds)
        if not transition.component:
            return
        if old in _LOADS:
            self._load_seconds[name] += transition.seconds
        if new == Status.READY:
            warmup = seconds if old == Status.WARMING else 0.0
            load = round(self._load_seconds.pop(name, 0.0), 3)
            emit("component.ready", component=name, load_seconds=load, warmup_seconds=warmup)
        elif new == Status.ERROR:
            self._load_seconds.pop(name, None)
            self._tell_failure(transition)

    def _tell_failure(self, transition: Transition) -> None:
        failure = transition.failure
        emit(
            "component.failed",
            component=transition.component,
            error=failure.error if failure else "unknown",
            error_class=failure.error_class.value if failure else "permanent",
            attempt=transition.attempt,
        )
