"""What `import glowplug` costs over a bare interpreter; paired runs in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.report import Figure

LIMIT_SECONDS = 0.150
PAIRS = 15


def measure() -> list[Figure]:
    """Return the median difference over `PAIRS` pairs."""
    _seconds("import glowplug")
    differences = [_seconds("import glowplug") - _seconds("pass") for _ in range(PAIRS)]
    cost = statistics.median(differences)
    said = f"{cost * 1000:.1f} ms over bare Python"
    return [Figure("import glowplug", said, "<= 150 ms", cost <= LIMIT_SECONDS, f"{PAIRS} pairs, median difference")]


def _seconds(code: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - begun
