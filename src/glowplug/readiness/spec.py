"""What a component is from the start, and what it shares with the others on its board."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from glowplug.clock import Clock
from glowplug.readiness.component_snapshot import Failure
from glowplug.readiness.deadlines import DEFAULT_DEADLINES, Deadlines
from glowplug.readiness.history import Histories, Load, history_key
from glowplug.readiness.state import Gates

LONGEST_ABBREVIATION = 3


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of a component from the start.

    `required`: the whole is not ready without it. `gates`: for how long (see `Gates`). `model` and `device` name
    what is loaded and where; their past loads are the ground of its estimate. `label` is its name for people.
    """

    name: str
    required: bool = True
    model: str | None = None
    device: str | None = None
    gates: Gates = Gates.ALWAYS
    label: str = ""
    deadlines: Deadlines = DEFAULT_DEADLINES

    @property
    def key(self) -> str:
        """Return the key of its past loads."""
        return history_key(self.model or self.name, self.device or "")

    @property
    def shown_name(self) -> str:
        """Return its name for people: short names are abbreviations ("tts" is TTS), others words ("chat" is Chat)."""
        if self.label:
            return self.label
        return self.name.upper() if len(self.name) <= LONGEST_ABBREVIATION else self.name[:1].upper() + self.name[1:]


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state: `seconds` is how long `old` had lasted; `component` is empty for the whole board.

    `load` is the record of the attempt that made a component ready, None on every other change and where nothing was
    loaded (a server that was lost and is back).
    """

    component: str
    old: str
    new: str
    seconds: float
    attempt: int = 0
    failure: Failure | None = None
    load: Load | None = None


class Surroundings:
    """What the components of one board share: the clock, past loads, one lock, and whom to tell.

    `changed` is called after every change and `transitioned` for every transition, both without the lock held.
    `version` is that of the picture; it grows with each change of state before the lock is let go, so that nobody
    takes what he saw before for what is now.
    """

    def __init__(
        self,
        clock: Clock,
        histories: Histories,
        changed: Callable[[], None],
        transitioned: Callable[[Transition], None],
    ) -> None:
        self.clock = clock
        self.histories = histories
        self.lock = threading.RLock()
        self.changed = changed
        self.transitioned = transitioned
        self.version = 0
