"""The one oracle of the fault suite: what was accepted has ended, once, and nothing of a lost attempt can be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.journeys.faults.site import Site
from tests.journeys.system import assert_told_once, until

UNCOUNTED = {"interrupted", "displaced"}


@dataclass
class Oracle:
    """Remembers every accepted job with the result that it must have (`...`: any), and judges them all."""

    site: Site
    expected: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def submit(self, task: str, /, *, result: Any = ..., **values: Any) -> str:
        """Queue a job and remember it."""
        job = self.site.submit(task, **values)
        self.expected[job] = result
        return job

    def submit_quick(self, size: int) -> list[str]:
        """Queue so many jobs that do nothing, in one call for each thousand, and remember them."""
        made: list[str] = []
        for first in range(0, size, 1000):
            numbers = range(first, min(size, first + 1000))
            jobs = self.site.submit_together("quick", [{"number": number} for number in numbers])
            self.expected |= dict(zip(jobs, numbers, strict=True))
            made += jobs
        return made

    def judge(self, *, attempts: Mapping[str, Sequence[str]] | None = None, limit: float = 90.0) -> Counter[str]:
        """Wait for every job's end, check all of it, print the counts and return them by state.

        `attempts` says how the attempts of a job must have ended, in order. Ends that cost nothing, as when a gateway
        dies before its grant has arrived, are only looked at where one is expected.
        """
        states: Counter[str] = Counter()
        tries = 0
        for job_id, result in self.expected.items():
            job = self._wait_done(job_id, limit)
            states[job["state"]] += 1
            tries += len(job["attempts"])
            if job["state"] == "completed" and result is not ...:
                assert job["result"] == result, job
            assert_told_once(self.site.plug.events(job_id))
            self._check_artifacts(job)
        for job_id, outcomes in (attempts or {}).items():
            found = [attempt["outcome"] for attempt in self.ended[job_id]["attempts"]]
            if not UNCOUNTED & set(outcomes):
                found = [outcome for outcome in found if outcome not in UNCOUNTED]
            assert found == list(outcomes), (found, self.ended[job_id]["error"])
        assert states.total() == len(self.expected) == states["completed"] + states["failed"] + states["canceled"]
        print(
            f"\n{self.site.ground.name}: {len(self.expected)} accepted = {states['completed']} completed + "
            f"{states['failed']} failed + {states['canceled']} canceled, {tries} attempts"
        )
        return states

    def _wait_done(self, job_id: str, limit: float) -> dict[str, Any]:
        def done() -> bool:
            self.ended[job_id] = self.site.plug.job(job_id)
            return bool(self.ended[job_id]["done"])

        until(done, f"job {job_id} ends", limit=limit, log=self.site.plug.log)
        return self.ended[job_id]

    def _check_artifacts(self, job: dict[str, Any]) -> None:
        """Every attempt has had its own token, from 1; only files of the one that completed may be read."""
        named = {artifact["key"] for artifact in job["artifacts"]}
        names = {key.rpartition("/")[2] for key in named} or {"picture.txt"}
        for attempt in job["attempts"]:
            for name in names:
                key = f"jobs/{job['id']}/{attempt['number']}/{name}"
                status = self.site.plug.http.get(f"/v1/artifacts/{key}").status_code
                assert status == (200 if key in named else 404), (key, status, sorted(named))
