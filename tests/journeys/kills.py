"""Campaigns of `kill -9` against a running system, and the one oracle that judges them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.journeys.system import System, assert_told_once, until
from tests.models.epochs import expected

EPOCHS = 30
JOBS_AHEAD = 2


@dataclass
class Report:
    """What a campaign counted. `recoveries` are the seconds from a kill to the job's next start."""

    kills: int = 0
    jobs: int = 0
    attempts: int = 0
    epochs_repeated: int = 0
    recoveries: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        slowest = max(self.recoveries, default=0.0)
        return (
            f"{self.kills} kills, {self.jobs} jobs accepted = completed, {self.attempts} attempts, "
            f"{self.epochs_repeated} epochs repeated, slowest recovery {slowest:.2f} s"
        )


@dataclass
class Campaign:
    """Keeps training jobs running and kills `victim()` at random moments in them."""

    plug: System
    victims: Callable[[], Sequence[int]]
    after_kill: Callable[[], None] = lambda: None
    seed: int = 0
    recovery_limit: float = 30.0
    jobs: list[str] = field(default_factory=list)

    def run(self, kills: int) -> Report:
        """Kill so many times, let everything end, and judge."""
        report = Report()
        chance = random.Random(self.seed)
        self._top_up()
        while report.kills < kills:
            job, seq = self._running_job()
            time.sleep(chance.uniform(0.0, 0.15))
            if not self._kill():
                continue
            killed_at = time.time()
            report.kills += 1
            self.after_kill()
            report.recoveries.append(self._recovered(job, seq, killed_at))
            self._top_up()
        self._judge(report)
        return report

    def _top_up(self) -> None:
        open_jobs = [job for job in self.jobs[-2 * JOBS_AHEAD :] if not self.plug.job(job)["done"]]
        for _ in range(JOBS_AHEAD - len(open_jobs)):
            name = f"job-{len(self.jobs)}"
            self.jobs.append(self.plug.submit("epochs.train", epochs=EPOCHS, name=name))

    def _running_job(self) -> tuple[str, int]:
        """Wait until a job has begun to work; return it and the last event seen of it."""
        found: list[tuple[str, int]] = []

        def begun() -> bool:
            self._top_up()
            for job in self.jobs[-2 * JOBS_AHEAD :]:
                events = self.plug.events_so_far(job)
                started = max((event["seq"] for event in events if event["type"] == "started"), default=None)
                working = started is not None and any(
                    event["type"] == "metrics" and event["seq"] > started for event in events
                )
                if working and not self.plug.job(job)["done"]:
                    found.append((job, events[-1]["seq"]))
                    return True
            return False

        until(begun, "a job works", log=self.plug.log)
        return found[-1]

    def _kill(self) -> bool:
        killed = False
        for pid in self.victims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed = True
        return killed

    def _recovered(self, job: str, seq: int, killed_at: float) -> float:
        """Return the seconds until the job started again; 0 if it had ended just before the kill."""
        moments: list[float] = []

        def again() -> bool:
            for event in self.plug.events_so_far(job, after=seq):
                if event["type"] == "started":
                    moments.append(_moment(event) - killed_at)
                    return True
                if event["type"] in ("completed", "failed", "canceled"):
                    moments.append(0.0)
                    return True
            return False

        until(again, f"job {job} runs again", limit=self.recovery_limit, log=self.plug.log)
        return max(0.0, moments[-1])

    def _judge(self, report: Report) -> None:
        for number, job_id in enumerate(self.jobs):
            job = self.plug.wait_done(job_id, limit=120)
            assert job["state"] == "completed", job
            assert job["result"] == expected(f"job-{number}", EPOCHS)
            events = self.plug.events(job_id)
            assert_told_once(events)
            report.epochs_repeated += _repeated_epochs(events)
            report.jobs += 1
            report.attempts += job["attempt"]


def _repeated_epochs(events: Sequence[dict[str, Any]]) -> int:
    """Count epochs done twice; none may lie at or before a checkpoint that was confirmed."""
    done: set[int] = set()
    saved = repeated = 0
    for event in events:
        if event["type"] == "checkpoint":
            saved = int(event["data"]["step"])
        elif event["type"] == "metrics":
            epoch = int(event["data"]["epoch"])
            assert epoch > saved, f"epoch {epoch} ran again after its checkpoint"
            assert epoch <= saved + 1, f"epoch {epoch} ran, but the last checkpoint is of {saved}"
            repeated += epoch in done
            done.add(epoch)
    return repeated


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()
