"""In the model's process: how much of its device it holds, measured."""

from __future__ import annotations

import os
import sys
import time

from glowplug.process.cards import CPU, Card
from glowplug.process.devices import CUDA, MPS, held_by, used_bytes

CONTEXT_BYTES = 512 << 20
"""What a CUDA context takes beside torch's own blocks, where the driver does not say what a process holds."""
LOOK_SECONDS = 1.0
SHARE = 0.05
"""A change by less than this is not worth telling."""


class Gauge:
    """Measures what this process holds on `card` since the gauge was made; its host's memory where that is the card.

    `bounded` says whether anybody wants to know: memory without a bound is not measured.
    """

    def __init__(self, card: Card, *, bounded: bool) -> None:
        self._card = card
        self._bounded = bounded
        self._told = 0
        self._looked = time.monotonic()
        self._before = (_resident_bytes() if card.device == CPU else card.used_bytes or 0) if bounded else 0

    def held_bytes(self) -> int | None:
        """Return what is held now, None if nobody can say."""
        found = self._measured() if self._bounded else None
        self._told = found or 0
        return found

    def news(self) -> int | None:
        """Return what is held, if it has changed since it was last told; cheap enough for after every call."""
        if not self._bounded or time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        told, found = self._told, self._measured()
        if found is None or abs(found - told) <= SHARE * max(told, 1 << 20):
            return None
        self._told = found
        return found

    def _measured(self) -> int | None:
        kind = self._card.device.partition(":")[0]
        if kind == CPU:
            return max(0, _resident_bytes() - self._before)
        torch = sys.modules.get("torch")
        if kind == MPS:
            return None if torch is None else int(torch.mps.driver_allocated_memory())
        if kind != CUDA:
            return None
        if (held := held_by(os.getpid(), self._card.identity)) is not None:
            return held
        if torch is not None and torch.cuda.is_initialized():
            return CONTEXT_BYTES + int(torch.cuda.memory_reserved(self._card.device))
        used = used_bytes(self._card.identity)
        return None if used is None else max(0, used - self._before)


def _resident_bytes() -> int:
    """Return the memory that only the end of this process would give back: mapped files are not in it."""
    import psutil

    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))
