"""The deliveries of the store in memory: the list of what is due follows what is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from glowplug.job import Follower, Job, JobRequest, submitted
from glowplug.store import Delivery
from glowplug.stores.memory_deliveries import Deliveries

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def followed(*followers: Follower) -> Job:
    return submitted(JobRequest(task="m.t", input={}, followers=followers), NOW)[0]


def woken(deliveries: Deliveries, *followers: Follower) -> Job:
    job, told = submitted(JobRequest(task="m.t", input={}, followers=followers), NOW)
    deliveries.wake(job, told)
    return job


def test_an_event_makes_due_whoever_wants_it() -> None:
    deliveries = Deliveries()
    job = woken(deliveries, Follower("all"), Follower("ends", ("completed",)))
    assert (
        deliveries.due("all", NOW, 9) == deliveries.of_job(job.id) == [Delivery(job_id=job.id, door="all", due_at=NOW)]
    )
    assert (deliveries.next_at("all"), deliveries.next_at("ends")) == (NOW, None)


def test_no_event_wakes_nobody() -> None:
    deliveries = Deliveries()
    job = followed(Follower("all"))
    deliveries.wake(job, [])
    assert deliveries.of_job(job.id) == []


def test_what_is_written_over_is_due_at_its_new_time_alone() -> None:
    deliveries = Deliveries()
    job = woken(deliveries, Follower("all"))
    (one,) = deliveries.due("all", NOW, 9)
    deliveries.save(replace(one, due_at=NOW + SECOND))
    assert deliveries.due("all", NOW, 9) == []
    assert [due.job_id for due in deliveries.due("all", NOW + SECOND, 9)] == [job.id]
    deliveries.save(replace(one, due_at=None))
    assert deliveries.next_at("all") is None


def test_the_longest_due_comes_first_and_what_is_forgotten_not_at_all() -> None:
    deliveries = Deliveries()
    for name, seconds in (("1", 3), ("2", 1), ("3", 2)):
        deliveries.save(Delivery(job_id=name, door="all", due_at=NOW + seconds * SECOND))
    assert [one.job_id for one in deliveries.due("all", NOW + 2 * SECOND, 9)] == ["2", "3"]
    deliveries.forget("2")
    deliveries.forget("2")
    assert [one.job_id for one in deliveries.due("all", NOW + 9 * SECOND, 1)] == ["3"]
