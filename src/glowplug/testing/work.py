"""The steps that store tests are made of: queue, claim, report, end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from glowplug.artifact import Artifact
from glowplug.clock import ManualClock
from glowplug.job import Failure, Job, JobRequest, Outcome, OutcomeKind
from glowplug.store import Hold, Settled, Settlement, Store, Want

TASK = "model.task"
LEASE = timedelta(seconds=60)
MOMENT_SECONDS = 0.001


def request(**fields: Any) -> JobRequest:
    """Make a request; only what matters to the test is named."""
    return JobRequest(**({"task": TASK, "input": {"text": "hello"}} | fields))


async def queue(store: Store, **fields: Any) -> Job:
    """Submit one request and return its job."""
    (submission,) = await store.submit([request(**fields)])
    return submission.job


async def claim(store: Store, *tasks: str, slots: int = 1, worker: str = "w1", lease: timedelta = LEASE) -> list[Job]:
    """Claim jobs of `tasks`, by default one of the usual task."""
    return await store.claim(worker, [Want(tasks or (TASK,), slots)], lease)


async def queue_many(store: Store, clock: ManualClock, count: int, *, name: str = "", **fields: Any) -> list[Job]:
    """Submit `count` equal requests; `name` and a number from 1 tell their jobs apart.

    They are a moment apart, because the ids of one moment have no order.
    """
    jobs = []
    for number in range(1, count + 1):
        jobs.append(await queue(store, **({"metadata": {"name": f"{name}{number}"}} | fields)))
        await clock.advance(MOMENT_SECONDS)
    return jobs


def names(jobs: Iterable[Job]) -> list[str]:
    """Return the names that `queue_many` gave."""
    return [job.metadata["name"] for job in jobs]


async def claim_by_id(store: Store, *jobs: Job, slots: int = 1, worker: str = "w1") -> list[Job]:
    """Claim these very jobs, of the usual task."""
    return await store.claim(worker, [Want((TASK,), slots)], LEASE, only=[job.id for job in jobs])


def hold_of(job: Job) -> Hold:
    """Return the hold that a claimed job stands for."""
    return Hold(job.id, job.token)


async def settle(store: Store, job: Job, kind: OutcomeKind, **fields: Any) -> Settled:
    """End the attempt that `job` was claimed for."""
    (answer,) = await store.settle([Settlement(hold_of(job), Outcome(kind, **fields))])
    return answer


async def complete(
    store: Store, claimed: list[Job], *, result: Any = None, artifacts: tuple[Artifact, ...] = ()
) -> Settled:
    """Complete the one job that was claimed."""
    (job,) = claimed
    return await settle(store, job, OutcomeKind.COMPLETED, result=result, artifacts=artifacts)


async def fail_for_good(store: Store, claimed: list[Job]) -> Settled:
    """Fail the one job that was claimed with an error that is not to be tried again."""
    (job,) = claimed
    failure = Failure("invalid_input", "no such number", retryable=False, details={"n": 11})
    return await settle(store, job, OutcomeKind.FAILED, failure=failure)


async def types(store: Store, job_id: str) -> list[str]:
    """Return the types of a job's events, having checked that their numbers have no gap."""
    events = await store.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [event.type for event in events]
