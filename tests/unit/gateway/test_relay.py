"""How many hints may be out, and the place in line as callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import SAY, House, house, picture

from glowplug.broker import Hint
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import ManualClock
from glowplug.gateway.relay import LEAST_OUTSTANDING, LOOK_SECONDS, MARK_SECONDS, Relay, Window, windows
from glowplug.job import JobRequest, Outcome, OutcomeKind
from glowplug.readiness import Status
from glowplug.store import Hold, Settlement, Want
from glowplug.stores.memory import MemoryStore

TASKS = {"echo.say": SAY, "other.say": SAY}


class TestWindows:
    async def test_no_worker_no_window(self, home: House) -> None:
        assert windows(home.gateway.registry, TASKS) == {}

    async def test_a_worker_that_has_not_asked_yet_counts_as_one_slot(self, home: House) -> None:
        await home.ready_worker()
        assert windows(home.gateway.registry, TASKS) == {"echo": Window(("echo.say",), LEAST_OUTSTANDING)}

    async def test_a_worker_counts_as_the_most_that_it_ever_asked_for(self, home: House) -> None:
        worker = await home.ready_worker()
        for slots in (3, 7, 2):
            await worker.claim(slots)
        assert windows(home.gateway.registry, TASKS)["echo"].size == 14
        await worker.register()
        assert windows(home.gateway.registry, TASKS)["echo"].size == 14

    async def test_a_process_started_anew_is_measured_anew(self, home: House) -> None:
        worker = await home.ready_worker()
        await worker.claim(20)
        await home.worker(incarnation="two").register()
        assert windows(home.gateway.registry, TASKS)["echo"].size == LEAST_OUTSTANDING

    async def test_workers_that_are_not_ready_have_no_part_in_it(self, home: House) -> None:
        one, other = await home.ready_worker("w1"), await home.ready_worker("w2")
        for worker in (one, other):
            await worker.claim(10)
        await other.register(picture(Status.LOADING))
        assert windows(home.gateway.registry, TASKS)["echo"].size == 20

    async def test_a_model_without_a_known_task_has_nothing_to_publish(self, home: House) -> None:
        await home.ready_worker()
        assert windows(home.gateway.registry, {}) == {}


@pytest.mark.parametrize(
    ("ahead", "shown", "exact"), [(0, 0, True), (10_000, 10_000, True), (10_001, 10_000, False)], ids=str
)
async def test_the_place_in_line_is_exact_up_to_ten_thousand(
    tmp_path: Path, ahead: int, shown: int, exact: bool
) -> None:
    class Crowded(MemoryStore):
        async def position(self, job_id: str, *, limit: int = 10_000) -> int | None:
            return min(ahead, limit)

    clock = ManualClock()
    async with house(tmp_path, clock, store=Crowded(clock=clock)) as home:
        await home.ready_worker()
        job: dict[str, Any] = await home.submit()
        assert (job["position"], job["position_is_exact"]) == (shown, exact)


class Shared(MemoryStore):
    """A store that another gateway uses, too."""

    shared = True


async def test_what_another_gateway_has_run_and_queued_again_gets_another_hint() -> None:
    clock, published = ManualClock(), list[str]()

    class Exchange(RowsBroker):
        carries = True

        async def publish(self, hints: Sequence[Hint]) -> None:
            published.extend(hint.job_id for hint in hints)

    async with asyncio.timeout(20), Shared(clock=clock) as store, Exchange(clock=clock) as broker:
        (submission,) = await store.submit([JobRequest(task="echo.say", input={})])
        window = {"echo": Window(("echo.say",), LEAST_OUTSTANDING)}
        async with Relay(store, broker, clock, windows=lambda: window, leads=lambda: True):
            await clock.advance(0)
            assert published == [submission.job.id]
            # This relay never hears of the claim: it was made elsewhere.
            (job,) = await store.claim("w", [Want(("echo.say",), 1)], timedelta(seconds=60))
            lost = Outcome(OutcomeKind.DISPLACED)
            await store.settle([Settlement(Hold(job.id, job.token), lost)])
            await clock.advance(MARK_SECONDS)
            await clock.advance(LOOK_SECONDS)
            assert published == [job.id, job.id]
