"""The stores are asked the same random things, and must always give the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glowplug.clock import ManualClock
from glowplug.errors import GlowplugError
from glowplug.job import STRIDE, Budget, Follower, Job, JobRequest, JobState, Note, Outcome, OutcomeKind, Progress
from glowplug.store import Delivery, Hold, JobFilter, Report, Settlement, Store, Want
from glowplug.stores.memory import MemoryStore
from glowplug.stores.sql import SqlStore

T = TypeVar("T")
LEASE = timedelta(seconds=60)
TASKS = ["m.a", "m.b"]
BUDGET = Budget(errors=2, crashes=2, retry_base_seconds=5.0)
FOLLOWERS = [(), (Follower("hook"),), (Follower("hook", ("completed", "failed")), Follower("log", ("started",)))]

tasks = st.sampled_from(TASKS)
indexes = st.integers(0, 200)
wants = st.lists(st.builds(Want, st.lists(tasks, max_size=3).map(tuple), st.integers(-1, 4)), max_size=2)
states = st.none() | st.lists(st.sampled_from(JobState), max_size=3).map(tuple)


class StoresAgree(RuleBasedStateMachine):
    """Two stores on one clock. Job ids are random, so jobs are spoken of by the order in which they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.stores: list[Store] = [
            MemoryStore(clock=self.clock, jitter=lambda: 0.5),
            SqlStore(f"sqlite:///{Path(self.folder.name)}/x.db", clock=self.clock, jitter=lambda: 0.5),
        ]
        self.made: list[dict[str, int]] = [{}, {}]
        self.holds: list[tuple[int, int]] = []

    @initialize()
    def open(self) -> None:
        for store in self.stores:
            self.run(store.start())

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.stop())
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def both(self, ask: Callable[[Store, list[str]], Awaitable[Any]]) -> Any:
        """Ask both stores, check that they say the same, and return what the second said."""

        async def one(number: int) -> Any:
            names = self.made[number]
            try:
                answer = await ask(self.stores[number], list(names))
            except GlowplugError as error:
                return type(error)
            return self.named(answer, number)

        first, second = self.run(one(0)), self.run(one(1))
        assert first == second
        return second

    def named(self, value: Any, number: int) -> Any:
        """Replace job ids by their order of making, so that two stores' answers can be compared."""
        names = self.made[number]
        if isinstance(value, Job):
            names.setdefault(value.id, len(names))
            return replace(value, id=str(names[value.id]))
        if isinstance(value, Delivery):
            return replace(value, job_id=str(names[value.job_id]))
        if isinstance(value, Hold):
            return (names[value.job_id], value.token)
        if isinstance(value, (list, tuple)):
            return [self.named(one, number) for one in value]
        return value

    def hold(self, ids: list[str], index: int) -> Hold:
        job, token = self.holds[index % len(self.holds)] if self.holds else (0, 0)
        return Hold(ids[job] if job < len(ids) else "nope", token)

    @rule(
        task=tasks,
        priority=st.integers(-1, 1),
        owner=st.sampled_from("ab"),
        key=st.none() | st.sampled_from("kl"),
        delay=st.integers(0, 20),
        patience=st.none() | st.integers(1, 60),
        stride=st.sampled_from([STRIDE, STRIDE // 3]),
        followers=st.sampled_from(FOLLOWERS),
    )
    def submit(self, task: str, priority: int, delay: int, patience: int | None, **fields: Any) -> None:
        # A moment apart, so that no two jobs are told apart by their random ids alone.
        self.run(self.clock.advance(0.001))
        now = self.clock.now()
        request = JobRequest(
            task=task,
            input={"n": priority},
            priority=priority,
            run_at=now + timedelta(seconds=delay) if delay else None,
            expires_at=now + timedelta(seconds=patience) if patience else None,
            budget=BUDGET,
            **fields,
        )
        self.both(lambda store, _: self.submitted(store, request))

    async def submitted(self, store: Store, request: JobRequest) -> tuple[Job, bool]:
        (submission,) = await store.submit([request])
        return submission.job, submission.created

    @rule(wants=wants)
    def claim(self, wants: list[Want]) -> None:
        jobs = self.both(lambda store, _: store.claim("w", wants, LEASE))
        self.holds += [(int(job.id), job.token) for job in jobs]

    @precondition(lambda self: self.made[0])
    @rule(wants=wants, only=st.lists(indexes, max_size=4))
    def claim_by_id(self, wants: list[Want], only: list[int]) -> None:
        async def ask(store: Store, ids: list[str]) -> Any:
            return await store.claim("w", wants, LEASE, only=[ids[index % len(ids)] for index in only])

        self.holds += [(int(job.id), job.token) for job in self.both(ask)]

    @rule(limit=st.integers(1, 3))
    def expire(self, limit: int) -> None:
        self.both(lambda store, _: store.expire(limit=limit))

    @rule(asked=st.lists(tasks, max_size=3), limit=st.integers(0, 5), lost=st.booleans())
    def dispatch(self, asked: list[str], limit: int, lost: bool) -> None:
        async def ask(store: Store, _: list[str]) -> Any:
            taken_back = await store.mark_lost(asked, self.clock.now() - timedelta(seconds=30)) if lost else 0
            jobs = await store.undispatched(asked, limit=limit)
            await store.mark_dispatched([job.id for job in jobs])
            return [taken_back, jobs]

        self.both(ask)

    @rule(door=st.sampled_from(["hook", "log"]), limit=st.integers(1, 3), behind=st.integers(0, 2), later=st.booleans())
    def tell(self, door: str, limit: int, behind: int, later: bool) -> None:
        due_at = self.clock.now() + timedelta(seconds=20) if later else None

        async def ask(store: Store, ids: list[str]) -> Any:
            # What is due since the same moment is told apart by ids, which are random.
            due = await store.undelivered(door, limit=1000)
            due.sort(key=lambda delivery: ids.index(delivery.job_id))
            for one in due[:limit]:
                seq = max((await store.job(one.job_id)).last_seq - behind, 0)
                await store.save_deliveries([replace(one, seq=seq, due_at=due_at, given_up=behind == 2)])
            return due

        self.both(ask)

    @rule(holder=st.sampled_from("gh"), resigns=st.booleans())
    def lead(self, holder: str, resigns: bool) -> None:
        async def ask(store: Store, _: list[str]) -> Any:
            if resigns:
                await store.resign("duty", holder)
            return await store.lead("duty", holder, timedelta(seconds=30))

        self.both(ask)

    @precondition(lambda self: self.holds)
    @rule(index=indexes, kind=st.sampled_from(OutcomeKind), twice=st.booleans())
    def settle(self, index: int, kind: OutcomeKind, twice: bool) -> None:
        async def ask(store: Store, ids: list[str]) -> Any:
            settlement = Settlement(self.hold(ids, index), Outcome(kind, result={"n": 1}))
            answers = await store.settle([settlement] * (1 + twice))
            return [(answer.hold, answer.accepted, answer.job) for answer in answers]

        self.both(ask)

    @precondition(lambda self: self.holds)
    @rule(first=indexes, second=indexes, done=st.integers(0, 5))
    def note(self, first: int, second: int, done: int) -> None:
        notes = (Note("progress", {"done": done}, progress=Progress(done, 5)), Note("log", {"text": "x"}))

        async def ask(store: Store, ids: list[str]) -> Any:
            return await store.note([Report(self.hold(ids, index), notes) for index in (first, second)])

        self.both(ask)

    @precondition(lambda self: self.holds)
    @rule(index=indexes)
    def renew(self, index: int) -> None:
        async def ask(store: Store, ids: list[str]) -> Any:
            (renewal,) = await store.renew([self.hold(ids, index)], LEASE)
            return renewal.hold, renewal.held, renewal.cancel

        self.both(ask)

    @precondition(lambda self: self.made[0])
    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        self.both(lambda store, ids: store.cancel(ids[index % len(ids)]))

    @precondition(lambda self: self.made[0])
    @rule(index=indexes)
    def retry(self, index: int) -> None:
        self.both(lambda store, ids: store.retry(ids[index % len(ids)]))

    @rule(seconds=st.sampled_from([1, 10, 45, 61]))
    def pass_time(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([0, 30]), limit=st.integers(1, 3))
    def clean(self, seconds: int, limit: int) -> None:
        before: datetime = self.clock.now() - timedelta(seconds=seconds)
        self.both(lambda store, _: store.clean(before, limit=limit))

    @precondition(lambda self: self.made[0])
    @rule(index=indexes, limit=st.integers(1, 3), states=states, task=st.none() | tasks)
    def look(self, index: int, limit: int, states: tuple[JobState, ...] | None, task: str | None) -> None:
        async def ask(store: Store, ids: list[str]) -> Any:
            job_id = ids[index % len(ids)]
            page = await store.jobs(JobFilter(states=states, task=task), limit=limit)
            rest = await store.jobs(JobFilter(states=states, task=task), cursor=page.next_cursor, limit=limit)
            newest = [await store.nth_newest("a", limit, task=task), await store.nth_newest("b", limit)]
            return [page.jobs, rest.jobs, await store.position(job_id, limit=limit), newest]

        self.both(ask)

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        async def ask(store: Store, ids: list[str]) -> Any:
            logs = [
                [(event.seq, event.type, event.at, event.data) for event in await store.events(job_id)]
                for job_id in ids
            ]
            page = await store.jobs(JobFilter(), limit=1000)
            totals = [await store.depths(), await store.next_due_seconds(TASKS)]
            holds = [sorted(await store.expired(), key=lambda hold: ids.index(hold.job_id)), await held(store, ids)]
            told = [await store.deliveries(job_id) for job_id in ids]
            due = [await store.next_delivery_seconds(door) for door in ("hook", "log")]
            return [logs, page.jobs, totals, holds, told, due]

        async def held(store: Store, ids: list[str]) -> list[Hold]:
            return sorted(await store.held_by("w"), key=lambda hold: ids.index(hold.job_id))

        self.both(ask)


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
