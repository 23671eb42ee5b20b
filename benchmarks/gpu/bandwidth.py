"""What the machine can do at best: host to card from pinned and from pageable memory, card to host, and the disk."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Figure

BLOCK_BYTES = 1 << 30
DISK_BYTES = 4 << 30


def measured(gigabytes: float, runs: int) -> dict[str, float]:
    """Return bytes per second by direction, medians of `runs`."""
    import torch

    count = min(BLOCK_BYTES, int(gigabytes * 1e9))
    pageable = torch.ones(count, dtype=torch.uint8)
    pinned = pageable.pin_memory()
    card = torch.empty(count, dtype=torch.uint8, device="cuda")
    return {
        "pinned_to_card": _rate(lambda: card.copy_(pinned, non_blocking=True), count, runs),
        "pageable_to_card": _rate(lambda: card.copy_(pageable), count, runs),
        "card_to_pinned": _rate(lambda: pinned.copy_(card, non_blocking=True), count, runs),
        "disk": _disk(),
    }


def shown(rates: dict[str, float]) -> list[Figure]:
    """Return the figures for the table."""
    words = {
        "pinned_to_card": "host to card, pinned: the ceiling of a load",
        "pageable_to_card": "host to card, pageable",
        "card_to_pinned": "card to host, pinned: the ceiling of a sleep",
        "disk": "disk, direct reads",
    }
    return [Figure(words[name], f"{rate / 1e9:.1f} GB/s") for name, rate in rates.items()]


def _rate(copy: Callable[[], Any], count: int, runs: int) -> float:
    import torch

    rates = []
    for _ in range(runs + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        copy()
        torch.cuda.synchronize()
        rates.append(count / (time.perf_counter() - began))
    # The first makes the driver's own buffers.
    return statistics.median(rates[1:])


def _disk() -> float:
    from benchmarks.big_weights import direct_rate

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder) / "block"
        with path.open("wb") as stream:
            for number in range(DISK_BYTES >> 26):
                stream.write(number.to_bytes(8, "big") * ((1 << 26) // 8))
        return direct_rate(path)
