"""Liveness while a model in the app itself holds the interpreter's lock: loaded in its own process, and in a thread."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.processes import free_port, program, wait_for
from benchmarks.report import Figure, percentile

RUNS = 3
METHOD = "8 s of calls that hold the lock for about 30 ms each; a probe each 20 ms over a new connection"


def measure() -> list[Figure]:
    """Return the delay of `/livez` for both ways, `RUNS` loads of each in turn."""
    runs = [(_probed("isolated"), _probed("thread")) for _ in range(RUNS)]
    isolated, threaded = (_Probes(found) for found in zip(*runs, strict=True))
    kept = isolated.p99 < 0.02 and isolated.failed == 0
    return [
        Figure("/livez while a model loads, isolate=True", isolated.words, "p99 < 20 ms, 0 failed", kept, METHOD),
        Figure("... the same load in a thread", threaded.words, method="stated: why isolate=True is there"),
    ]


class _Probes:
    """The probes of several runs together."""

    def __init__(self, runs: Sequence[tuple[list[float], int]]) -> None:
        self.delays = [delay for delays, _ in runs for delay in delays]
        self.failed = sum(failed for _, failed in runs)
        self.p99 = percentile(self.delays, 0.99)

    @property
    def words(self) -> str:
        p50, slowest = statistics.median(self.delays), max(self.delays)
        said = f"p50 {p50 * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms, slowest {slowest * 1000:.0f} ms"
        return f"{said}, {self.failed} of {len(self.delays) + self.failed} failed"


def _probed(how: str) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"GLOWPLUG_DATA": f"{folder}/data", "GLOWPLUG_CACHE": f"{folder}/cache"}
        with program([sys.executable, "-m", "benchmarks.apps.burst_load", str(port), how], environment):
            wait_for(port, "/livez")
            prober = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.prober", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            wait_for(port, "/api/ready", contains=b'"ready":true', every=0.1)
            found = json.loads(prober.communicate()[0])
    return found["latencies"], found["failed"]
