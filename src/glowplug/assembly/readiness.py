"""What stands behind the readiness routes of a gateway and of a worker, which are the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glowplug.web.parts import WarmUp


class Warmed(Protocol):
    """What one model's warm-up came to."""

    @property
    def component(self) -> str:
        """Return the model's name."""

    @property
    def seconds(self) -> float | None:
        """Return how long it took, None if it did not come to its end."""

    @property
    def error(self) -> str | None:
        """Return what went wrong."""


class Upkeep(Protocol):
    """The upkeep of models, here or on all workers."""

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        """Load failed models again."""

    async def warm_up(self) -> Sequence[Warmed]:
        """Warm ready models up again."""


class UpkeepActions:
    """Upkeep as the routes know it."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    async def retry(self, names: Sequence[str]) -> Sequence[str]:
        """Load failed models again, those named or all; return which."""
        return await self._upkeep.retry(names)

    async def warm_up(self) -> Sequence[WarmUp]:
        """Warm ready models up again; return what each took."""
        return [WarmUp(one.component, one.seconds, one.error) for one in await self._upkeep.warm_up()]
