"""The lines of the store in memory: always sorted, whatever is added and removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.job import STRIDE, Job, JobRequest, JobState, dispatched, submitted
from glowplug.store import Depth
from glowplug.stores.memory_lines import Lines
from glowplug.stores.rules import line_order

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Kept:
    """Jobs and their lines in step, as a store keeps them."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.lines = Lines(self.jobs)

    def add(self, name: str, *, due: bool = True, **fields: object) -> Job:
        job, _ = submitted(JobRequest(task="m.t", input={}, **fields), NOW)  # type: ignore[arg-type]
        job = replace(job, id=name)
        job = self.lines.lined_up(job) if due else job
        self.jobs[name] = job
        self.lines.add(job)
        return job

    def order(self) -> list[str]:
        return [job.id for job in self.lines.due("m.t")]


def test_jobs_stand_in_the_order_of_claims() -> None:
    kept = Kept()
    for name, owner, priority in (("1", "ann", 0), ("2", "ann", 0), ("3", "bob", 0), ("4", "bob", 1)):
        kept.add(name, owner=owner, priority=priority)
    assert kept.order() == ["4", "1", "3", "2"]
    assert [kept.lines.ahead(kept.jobs[name]) for name in "4132"] == [0, 1, 2, 3]


def test_the_head_moves_on_as_jobs_leave() -> None:
    kept = Kept()
    for name in "12345":
        kept.add(name, owner="ann")
    for name in "12":
        kept.lines.remove(kept.jobs.pop(name))
    assert kept.add("6", owner="bob").turn == 2 * STRIDE
    assert kept.add("7", owner="ann").turn == 5 * STRIDE


def test_a_line_that_was_empty_begins_anew() -> None:
    kept = Kept()
    for name in "12":
        kept.add(name)
    for name in "12":
        kept.lines.remove(kept.jobs.pop(name))
    assert kept.add("3").turn == 0
    assert kept.lines.depths(NOW) == {"m.t": Depth(queued=1, due=1)}


def test_what_is_for_later_is_told_by_its_time() -> None:
    kept = Kept()
    for name, seconds in (("b", 5), ("a", 5), ("c", 9)):
        kept.add(name, due=False, run_at=NOW + seconds * SECOND)
    assert [job.id for job in kept.lines.later("m.t")] == ["a", "b", "c"]
    assert kept.lines.overdue("m.t", NOW + 4 * SECOND) == []
    assert [job.id for job in kept.lines.overdue("m.t", NOW + 5 * SECOND)] == ["a", "b"]
    assert kept.lines.overdue("m.other", NOW) == []


def test_what_can_expire_is_told_the_oldest_first() -> None:
    kept = Kept()
    kept.add("1", expires_at=NOW + 2 * SECOND)
    kept.add("2", due=False, run_at=NOW + 9 * SECOND, expires_at=NOW + SECOND)
    kept.add("3")
    assert kept.lines.expired(NOW, 9) == []
    assert [job.id for job in kept.lines.expired(NOW + 2 * SECOND, 9)] == ["2", "1"]
    assert [job.id for job in kept.lines.expired(NOW + 2 * SECOND, 1)] == ["2"]
    kept.lines.remove(kept.jobs["2"])
    assert [job.id for job in kept.lines.expired(NOW + 2 * SECOND, 9)] == ["1"]


def test_depths_count_what_waits_what_is_due_and_what_has_its_hint() -> None:
    kept = Kept()
    first = kept.add("1")
    kept.add("2", due=False, run_at=NOW + SECOND)
    kept.add("3", due=False, run_at=NOW + 9 * SECOND)
    kept.lines.remove(first)
    kept.jobs["1"] = dispatched(first, NOW)
    kept.lines.add(kept.jobs["1"])
    assert kept.lines.depths(NOW + 2 * SECOND) == {"m.t": Depth(queued=3, due=2, oldest_seconds=2.0, dispatched=1)}
    for job in kept.jobs.values():
        kept.lines.remove(job)
    assert kept.lines.depths(NOW) == {}


def test_a_job_that_does_not_wait_stands_in_no_line() -> None:
    kept = Kept()
    running = replace(kept.add("1"), state=JobState.RUNNING, turn=None)
    kept.lines.remove(kept.jobs["1"])
    kept.lines.add(running)
    kept.lines.remove(running)
    assert kept.order() == []


steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(-1, 1), st.sampled_from([STRIDE, STRIDE // 2]), st.integers(0, 30)),
    max_size=40,
)


@given(steps)
@settings(deadline=None)
def test_whatever_comes_and_goes_the_order_is_that_of_a_sort(steps: list[tuple[str, int, int, int]]) -> None:
    kept = Kept()
    for number, (owner, priority, stride, leaves) in enumerate(steps):
        kept.add(f"{number:03}", owner=owner, priority=priority, stride=stride)
        if leaves % 3 == 0:
            kept.lines.remove(kept.jobs.pop(sorted(kept.jobs)[leaves % len(kept.jobs)]))
        assert kept.order() == [job.id for job in sorted(kept.jobs.values(), key=line_order)]
