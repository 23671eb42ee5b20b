"""The lines of the store in memory: jobs that wait, in the order in which they are served, and those for later."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from glowplug.job import Job, JobState, lined_up
from glowplug.store import Depth

Place = tuple[int, int, str]
Moment = tuple[datetime, str]


class Lines:
    """Sorted lists of the queued among `jobs`, which `add` and `remove` keep in step with them."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self._jobs = jobs
        self._due: dict[str, list[Place]] = {}
        self._later: dict[str, list[Moment]] = {}
        self._turns: dict[tuple[str, int, str], list[int]] = {}
        self._expiring: list[Moment] = []

    def add(self, job: Job) -> None:
        """Put a queued job where it belongs; any other job belongs nowhere."""
        if job.state is not JobState.QUEUED:
            return
        if job.expires_at is not None:
            insort(self._expiring, (job.expires_at, job.id))
        if job.turn is None:
            insort(self._later.setdefault(job.task, []), (job.run_at, job.id))
            return
        insort(self._due.setdefault(job.task, []), _place(job, job.turn))
        insort(self._turns.setdefault(_line(job), []), job.turn)

    def remove(self, job: Job) -> None:
        """Take a job away as it was added."""
        if job.state is not JobState.QUEUED:
            return
        if job.expires_at is not None:
            _drop(self._expiring, (job.expires_at, job.id))
        if job.turn is None:
            _drop(self._later[job.task], (job.run_at, job.id))
            return
        _drop(self._due[job.task], _place(job, job.turn))
        turns = self._turns[_line(job)]
        _drop(turns, job.turn)
        if not turns:
            del self._turns[_line(job)]

    def lined_up(self, job: Job) -> Job:
        """Give a due job its place in line."""
        due, turns = self._due.get(job.task, []), self._turns.get(_line(job))
        first = bisect_left(due, (-job.priority,))
        head = due[first][1] if first < len(due) and due[first][0] == -job.priority else None
        return lined_up(job, head, turns[-1] if turns else None)

    def due(self, task: str) -> Iterator[Job]:
        """Yield the jobs of `task` that stand in line, in their order."""
        return (self._jobs[job_id] for _, _, job_id in self._due.get(task, ()))

    def overdue(self, task: str, now: datetime) -> list[Job]:
        """Return the jobs of `task` that are due and have no place in line yet, the longest due first."""
        later = self._later.get(task, [])
        return [self._jobs[job_id] for _, job_id in later[: _count_until(later, now)]]

    def later(self, task: str) -> Iterator[Job]:
        """Yield the jobs of `task` that wait for their time, by it."""
        return (self._jobs[job_id] for _, job_id in self._later.get(task, ()))

    def ahead(self, job: Job) -> int:
        """Count the jobs in line before this one, or before the end of its line if it is for later."""
        end: tuple[int, ...] | Place = (1 - job.priority,) if job.turn is None else _place(job, job.turn)
        return bisect_left(self._due.get(job.task, []), end)

    def expired(self, now: datetime, limit: int) -> list[Job]:
        """Return queued jobs whose time to start is over, the oldest first."""
        return [self._jobs[job_id] for _, job_id in self._expiring[: min(limit, _count_until(self._expiring, now))]]

    def depths(self, now: datetime) -> dict[str, Depth]:
        """Count what waits, by task."""
        return {task: self._depth(task, now) for task in {*self._due, *self._later} if self._waiting(task)}

    def _waiting(self, task: str) -> int:
        return len(self._due.get(task, ())) + len(self._later.get(task, ()))

    def _depth(self, task: str, now: datetime) -> Depth:
        jobs = [*self.due(task), *self.overdue(task, now)]
        oldest = min((job.run_at for job in jobs), default=now)
        return Depth(
            queued=self._waiting(task),
            due=len(jobs),
            oldest_seconds=(now - oldest).total_seconds(),
            dispatched=sum(job.dispatched_at is not None for job in jobs),
        )


def _place(job: Job, turn: int) -> Place:
    return (-job.priority, turn, job.id)


def _line(job: Job) -> tuple[str, int, str]:
    return (job.task, job.priority, job.owner)


def _count_until(moments: Sequence[Moment], now: datetime) -> int:
    # No id is larger than this character, so what is due at this very moment counts.
    return bisect_left(moments, (now, "\U0010ffff"))


def _drop(places: list[Place] | list[Moment] | list[int], place: Place | Moment | int) -> None:
    del places[bisect_left(places, place)]
