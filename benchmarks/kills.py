"""kill -9 of model and worker processes under training jobs; the short form of `make chaos`, same oracle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.journeys.kills import Campaign, Report
from tests.journeys.system import MODELS, System, system

from benchmarks.report import Figure

TRAINER = MODELS / "epochs.py"
METHOD = "0 lost, 0 finished twice, no gap in seq, no epoch before a checkpoint repeated"


def measure() -> list[Figure]:
    """Run a campaign against each kind of victim."""
    return [
        _figure("kill -9 of the model's process", _child(40), 2.0, "2 s + the model's load"),
        _figure("kill -9 of a supervised worker", _worker(10), 5.0, "at once: the supervisor saw it die"),
        _figure("kill -9 of a worker elsewhere, lease 5 s", _elsewhere(4, 5), 10.0, "lease + 5 s"),
    ]


def _figure(claim: str, report: Report, limit: float, bar: str) -> Figure:
    # A campaign that finds a lost or doubled job raises, so that only the recovery is left to compare.
    slowest = max(report.recoveries)
    return Figure(claim, str(report), bar, slowest <= limit, METHOD)


def _child(kills: int) -> Report:
    def run(plug: System) -> Report:
        plug.up(TRAINER)
        plug.wait_ready("epochs")
        return Campaign(plug, plug.child_pids).run(kills)

    return _with_system(run)


def _worker(kills: int) -> Report:
    def run(plug: System) -> Report:
        plug.up(TRAINER)
        plug.wait_ready("epochs")
        return Campaign(plug, plug.worker_pids).run(kills)

    return _with_system(run)


def _elsewhere(kills: int, lease_seconds: int) -> Report:
    def run(plug: System) -> Report:
        plug.environment["GLOWPLUG_LEASE_SECONDS"] = str(lease_seconds)
        plug.gateway()
        workers = [plug.worker(TRAINER)]
        plug.wait_ready("epochs")
        return Campaign(plug, lambda: [workers[-1].pid], after_kill=lambda: workers.append(plug.worker(TRAINER))).run(
            kills
        )

    return _with_system(run)


def _with_system(run: Callable[[System], Report]) -> Report:
    with tempfile.TemporaryDirectory() as folder, system(Path(folder)) as plug:
        return run(plug)
