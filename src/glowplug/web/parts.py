"""What the readiness routes are made of, handed in by whoever mounts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import HTTPConnection

from glowplug.clock import Clock, SystemClock
from glowplug.readiness import Feed
from glowplug.readiness.warm_up import WarmUp
from glowplug.web.permission import local_only

TOO_EARLY = 425
Permit = Callable[[HTTPConnection], None]


class Actions(Protocol):
    """What somebody may ask for who has permission."""

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        """Load the failed components `names` again, or all that failed if empty; return their names at once.

        Raises `NotFound` for an unknown name, and `Conflict` when there is nothing to load again.
        """

    async def warm_up(self) -> Sequence[WarmUp]:
        """Warm every loaded component again, all staying ready. Raises `Conflict` when nothing is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessParts:
    """The boards behind the routes, and what may be done through them.

    `own` is what the probes follow, `models` what everything else tells of, None for the same. Without `actions` their
    routes are absent; `permit` raises `Unauthorized` or `Forbidden` for who may not use them. `early_status` answers
    while models load, 425 or 503; probes always say 503.
    """

    own: Feed
    models: Feed | None = None
    actions: Actions | None = None
    permit: Permit = field(default_factory=local_only)
    early_status: int = TOO_EARLY
    clock: Clock = field(default_factory=SystemClock)

    @property
    def told(self) -> Feed:
        """Return the board that everything but the probes tells of."""
        return self.own if self.models is None else self.models
