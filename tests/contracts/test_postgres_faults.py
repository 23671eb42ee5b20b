"""PostgreSQL shared by several gateways, and what becomes of them when it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event
from tests.servers.postgres import PASSWORD, PostgresServer, database, postgres

from glowplug import events
from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import GlowplugError, SettingsError, Unreachable
from glowplug.job import JobRequest, JobState
from glowplug.store import JobFilter, News
from glowplug.stores.postgres import PostgresDatabase
from glowplug.stores.sql import SqlStore
from glowplug.testing.work import LEASE, claim, complete, hold_of, queue, request, types

__all__ = ["database", "postgres"]
SECONDS = 90.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def told() -> Iterator[list[str]]:
    heard: list[str] = []
    previous = events.set_sink(lambda spec, fields: heard.append(f"{spec.name} {fields.get('error', '')}"))
    yield heard
    events.set_sink(previous)


@asynccontextmanager
async def gateways(url: str, count: int = 2) -> AsyncIterator[list[SqlStore]]:
    """Run stores on one database, as so many gateways have them."""
    stores = [SqlStore(url, clock=SystemClock()) for _ in range(count)]
    for store in stores:
        await store.start()
    yield stores
    for store in stores:
        await store.stop()


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


class Load:
    """Callers that submit, claim and complete for ever, and remember what was answered."""

    def __init__(self, stores: list[SqlStore]) -> None:
        self._stores = stores
        self._numbers = iter(range(10**9))
        self._tasks: list[asyncio.Task[None]] = []
        self.submitted: dict[str, str] = {}
        self.completed: set[str] = set()
        self.refused: list[GlowplugError] = []
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._serve(store)) for store in self._stores for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert [repr(end) for end in ends if not isinstance(end, asyncio.CancelledError)] == []

    async def _serve(self, store: SqlStore) -> None:
        while True:
            key = f"k{next(self._numbers)}"
            for work in (self._submit, self._complete):
                try:
                    await work(store, key)
                    self._moved.set()
                except Unreachable as error:
                    self.refused.append(error)
                    await asyncio.sleep(0.05)

    async def _submit(self, store: SqlStore, key: str) -> None:
        (submission,) = await store.submit([request(key=key)])
        self.submitted[key] = submission.job.id

    async def _complete(self, store: SqlStore, worker: str) -> None:
        jobs = await claim(store, worker=worker)
        if jobs:
            assert (await complete(store, jobs)).accepted
            self.completed.add(jobs[0].id)

    async def goes_on(self, count: int = 40) -> None:
        """Wait until so many more jobs have been completed."""
        goal = len(self.completed) + count
        while len(self.completed) < goal:
            self._moved.clear()
            await self._moved.wait()

    async def check(self, store: SqlStore) -> None:
        """Check that all that was answered is there, and that nothing was done twice."""
        # What was answered until now: the callers go on.
        submitted, completed = list(self.submitted.values()), set(self.completed)
        found: dict[str, JobState] = {}
        cursor = None
        while True:
            page = await store.jobs(JobFilter(), cursor=cursor, limit=500)
            found |= {job.id: job.state for job in page.jobs}
            assert all(job.attempt <= 1 for job in page.jobs)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert set(submitted) <= set(found)
        assert len(set(submitted)) == len(submitted)
        assert {found[job_id] for job_id in completed} == {JobState.COMPLETED}
        for job_id in list(completed)[-20:]:
            assert await types(store, job_id) == ["queued", "started", "completed"]


# Several gateways.


async def test_claimers_of_two_gateways_never_share_a_job(database: str) -> None:
    async with gateways(database) as stores:
        await stores[0].submit([request() for _ in range(150)])

        async def drain(store: SqlStore, worker: str) -> list[str]:
            taken = []
            while jobs := await claim(store, worker=worker, slots=2):
                taken += [job.id for job in jobs]
            return taken

        claims = await asyncio.gather(*(drain(stores[number % 2], f"w{number}") for number in range(10)))
        taken = [job_id for jobs in claims for job_id in jobs]
        assert len(taken) == len(set(taken)) == 150


async def test_one_key_at_two_gateways_is_one_job(database: str) -> None:
    async with gateways(database) as stores:
        for number in range(10):
            asked = [store.submit([request(key=f"k{number}"), request()]) for store in stores * 4]
            answers = await asyncio.gather(*asked)
            assert len({answer[0].job.id for answer in answers}) == 1
            assert sum(answer[0].created for answer in answers) == 1
        assert len((await stores[0].jobs(JobFilter(), limit=200)).jobs) == 10 * (1 + 8)


async def test_keys_in_opposite_orders_at_two_gateways_are_sorted_out(database: str, postgres: PostgresServer) -> None:
    with postgres.connect(name_of(database)) as connection:
        connection.execute(f"ALTER DATABASE {name_of(database)} SET deadlock_timeout = '20ms'")
    async with gateways(database) as stores:
        for number in range(10):
            keys = [f"k{number}-{one}" for one in range(30)]
            orders = (keys, keys[::-1])
            asked = [
                store.submit([request(key=key) for key in order]) for store, order in zip(stores, orders, strict=True)
            ]
            first, second = await asyncio.gather(*asked)
            assert {one.job.id for one in first} == {one.job.id for one in second}


async def test_a_duty_has_one_leader_among_gateways(database: str) -> None:
    async with gateways(database, 3) as stores:
        term = timedelta(seconds=60)
        for duty in ("reap", "relay", "clean"):
            answers = await asyncio.gather(*(store.lead(duty, f"g{n}", term) for n, store in enumerate(stores)))
            assert sum(answers) == 1


async def test_one_gateway_hears_what_another_wrote(database: str) -> None:
    first, second = (SqlStore(database, clock=SystemClock()) for _ in range(2))
    heard: asyncio.Queue[News] = asyncio.Queue()
    own: list[News] = []
    first.follow(own.extend)

    def hear(news: Sequence[News]) -> None:
        for one in news:
            heard.put_nowait(one)

    second.follow(hear)
    async with first, second:
        job = await queue(first, task="model.ä 'x'")
        assert await heard.get() == News(job.id, "model.ä 'x'")
        await first.cancel(job.id)
        assert (await heard.get()).job_id == job.id
    assert own == []


async def test_news_of_many_jobs_are_gathered(database: str, postgres: PostgresServer) -> None:
    async with gateways(database) as stores:
        with postgres.connect(name_of(database)) as watcher:
            watcher.execute("LISTEN glowplug")
            await asyncio.gather(*(queue(stores[0]) for _ in range(200)))
            messages = await asyncio.to_thread(lambda: list(watcher.notifies(timeout=0.4)))
        assert 1 <= len(messages) < 50


async def test_a_gateway_whose_clock_is_wrong_does_no_harm(database: str) -> None:
    wrong = ManualClock(datetime.now(UTC) - timedelta(minutes=10))
    right = SqlStore(database, clock=SystemClock())
    skewed = SqlStore(database, clock=wrong)
    async with right, skewed:
        await queue(right)
        (job,) = await claim(skewed)
        assert job.lease_until is not None
        assert abs(job.lease_until - datetime.now(UTC) - LEASE) < timedelta(seconds=SECONDS)
        assert await right.expired() == []
        assert (await right.renew([hold_of(job)], LEASE))[0].held
        assert await skewed.expired() == []


# A server that fails.


async def test_a_killed_server_has_everything_that_was_answered(postgres: PostgresServer, database: str) -> None:
    async with gateways(database) as stores, Load(stores) as load:
        await load.goes_on()
        await asyncio.to_thread(postgres.kill9)
        postgres.launch()
        await load.goes_on()
        await asyncio.to_thread(postgres.stop)
        postgres.launch()
        await load.goes_on()
        # So short an outage is nobody's business.
        assert load.refused == []
        await load.check(stores[0])


async def test_ended_connections_are_made_anew(postgres: PostgresServer, database: str) -> None:
    await ends_connections(postgres, database, times=4, jobs=10)


@pytest.mark.chaos
async def test_ended_connections_are_made_anew_twice_a_second(postgres: PostgresServer, database: str) -> None:
    await ends_connections(postgres, database, times=40, jobs=1)


async def ends_connections(postgres: PostgresServer, database: str, *, times: int, jobs: int) -> None:
    async with gateways(database) as stores, Load(stores) as load:
        for _ in range(times):
            await load.goes_on(jobs)
            assert await asyncio.to_thread(postgres.terminate_backends, name_of(database)) > 0
            await asyncio.sleep(0.5 if times > 10 else 0.1)
        await load.goes_on()
        assert load.refused == []
        await load.check(stores[0])


async def test_a_server_that_stays_away_is_said_and_its_return_noticed(
    postgres: PostgresServer, database: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDatabase, "patience_seconds", 0.2)
    async with gateways(database, 1) as (store,):
        await queue(store)
        await asyncio.to_thread(postgres.stop)
        for _ in range(3):
            with pytest.raises(Unreachable, match="does not answer: is it running"):
                await queue(store)
        postgres.start()
        while True:
            try:
                await queue(store)
                break
            except Unreachable:
                await asyncio.sleep(0.05)
    assert [line.partition(" ")[0] for line in told] == ["store.failed", "store.restored"]
    assert not any("sesame" in line or PASSWORD in line for line in told)


async def test_callers_of_a_store_that_stops_in_an_outage_are_answered(postgres: PostgresServer, database: str) -> None:
    store = SqlStore(database, clock=SystemClock())
    await store.start()
    await asyncio.to_thread(postgres.stop)
    waiting = [asyncio.create_task(queue(store)) for _ in range(5)]
    await asyncio.sleep(0.1)
    await store.stop()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    postgres.start()
    assert {type(answer) for answer in answers} == {Unreachable}


async def test_a_server_that_freezes_keeps_nobody_for_ever(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDatabase, "answer_seconds", 0.5)
    async with gateways(database, 1) as (store,):
        with postgres.connect(name_of(database)) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", [name_of(database)]
            ).fetchall()
        pids = [int(str(pid)) for (pid,) in rows]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            job = await queue(store)
            assert (await store.job(job.id)).id == job.id
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


async def test_a_server_without_a_free_connection_is_said_and_waited_for(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDatabase, "patience_seconds", 0.2)
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name_of(database)} CONNECTION LIMIT 6")
        connection.execute("DROP ROLE IF EXISTS plain")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'sesame'")
        connection.execute(f"ALTER DATABASE {name_of(database)} OWNER TO plain")
    plain = postgres.url(name_of(database), user="plain", password="sesame")
    async with gateways(plain, 1) as (store,):
        taken: list[psycopg.Connection[Any]] = []
        await asyncio.to_thread(postgres.terminate_backends, name_of(database))
        while len(taken) < 6:
            try:
                taken.append(await asyncio.to_thread(psycopg.connect, plain))
            except psycopg.OperationalError:
                await asyncio.to_thread(postgres.terminate_backends, name_of(database))
                taken = [one for one in taken if not one.closed and alive(one)]
        with pytest.raises(Unreachable, match="max_connections"):
            await queue(store)
        for one in taken:
            one.close()
        while True:
            try:
                await queue(store)
                break
            except Unreachable:
                await asyncio.sleep(0.05)


def alive(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        connection.close()
        return False
    return True


# Transactions that are taken back.


class Once:
    """An operation that meets an error of the database the first time, and then writes."""

    def __init__(self, state: str) -> None:
        self._state = state
        self.runs = 0

    def __call__(self, connection: Connection) -> str:
        self.runs += 1
        if self.runs == 1:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{self._state}'; END $$")
        connection.exec_driver_sql("INSERT INTO models (name, info) VALUES ('m', '{}')")
        return "done"


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_what_was_taken_back_for_others_is_run_again(database: str, state: str) -> None:
    async with gateways(database, 1) as (store,):
        once = Once(state)
        beside = [asyncio.create_task(queue(store)) for _ in range(5)]
        assert await store._writer.run(once) == "done"
        assert once.runs == 2
        jobs = await asyncio.gather(*beside)
        assert {job.id for job in (await store.jobs(JobFilter())).jobs} == {job.id for job in jobs}


async def test_a_deadlock_is_sorted_out(database: str, postgres: PostgresServer) -> None:
    with postgres.connect(name_of(database)) as connection:
        connection.execute(f"ALTER DATABASE {name_of(database)} SET deadlock_timeout = '20ms'")
    async with gateways(database) as stores:
        names = [submission.job.id for submission in await stores[0].submit([request(), request()])]
        both = threading.Barrier(2)
        met: set[str] = set()

        def lock(order: list[str]) -> Callable[[Connection], str]:
            def operation(connection: Connection) -> str:
                for job_id in order:
                    connection.exec_driver_sql(f"UPDATE jobs SET webhook = '{order[0]}' WHERE id = '{job_id}'")
                    if order[0] not in met:
                        met.add(order[0])
                        both.wait(SECONDS)
                return order[0]

            return operation

        orders = (names, names[::-1])
        asked = [store._writer.run(lock(order)) for store, order in zip(stores, orders, strict=True)]
        assert await asyncio.gather(*asked) == names
        webhooks = {(await stores[0].job(job_id)).webhook for job_id in names}
        assert len(webhooks) == 1


@pytest.mark.parametrize("made", [True, False])
async def test_a_commit_whose_answer_is_lost_is_asked_after(
    database: str, postgres: PostgresServer, made: bool
) -> None:
    async with gateways(database, 1) as (store,):
        lose_commits(store, postgres, name_of(database), made=made)
        submission, second = await asyncio.gather(store.submit([request()]), store.submit([request()]))
        jobs = (await store.jobs(JobFilter())).jobs
        assert {job.id for job in jobs} == {submission[0].job.id, second[0].job.id}
        claimed = await claim(store)
        assert claimed[0].attempt == 1
        assert len(await store.held_by("w1")) == 1


async def test_a_commit_of_which_nobody_knows_is_said(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDatabase, "was_committed", lambda *_: None)
    async with gateways(database, 1) as (store,):
        lose_commits(store, postgres, name_of(database), made=True)
        with pytest.raises(Unreachable, match="look before you ask again"):
            await queue(store)


async def test_a_number_of_another_history_says_nothing(database: str) -> None:
    async with gateways(database, 1) as (store,):

        def ask(connection: Connection) -> list[bool | None]:
            assert isinstance(store._database, PostgresDatabase)
            connection.exec_driver_sql("INSERT INTO models (name, info) VALUES ('m', '{}')")
            receipt = store._database.receipt(connection)
            assert receipt is not None
            history, _, number = receipt.partition(":")
            assert int(history, 16) == 1
            return [store._database.was_committed(connection, f"00000002:{number}")]

        assert await store._writer.run(ask) == [None]


def lose_commits(store: SqlStore, postgres: PostgresServer, name: str, *, made: bool) -> None:
    """Break the next commit's connection when, or before, the server has made it."""
    assert isinstance(store._database, PostgresDatabase)
    left = [None]

    def lose(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if not left or driver.read_only:
            return
        left.pop()
        if made:
            driver.commit()
        postgres.terminate_backends(name)
        raise psycopg.OperationalError("the connection was lost")

    event.listen(store._database._engine, "commit", lose)


# What cannot be used.


async def refusal(url: str) -> GlowplugError:
    store = SqlStore(url, clock=SystemClock())
    with pytest.raises(GlowplugError) as caught:
        await store.start()
    assert not store.started
    said = [caught.value.message, repr(store.__dict__["_database"].__dict__)]
    assert not any("sesame" in line or PASSWORD in line for line in said)
    assert "\n" not in caught.value.message
    return caught.value


async def test_a_wrong_password_is_said(postgres: PostgresServer) -> None:
    error = await refusal(postgres.url(password="open-sesame"))
    assert isinstance(error, SettingsError)
    assert "password" in error.message


async def test_a_missing_database_is_said(postgres: PostgresServer) -> None:
    error = await refusal(postgres.url("absent"))
    assert isinstance(error, SettingsError)
    assert "createdb" in error.message


async def test_a_closed_port_is_said() -> None:
    error = await refusal("postgresql://ann:open-sesame@127.0.0.1:1/jobs")
    assert isinstance(error, Unreachable)
    assert "127.0.0.1:1/jobs" in error.message


async def test_a_server_that_takes_no_writes_is_said(postgres: PostgresServer, database: str) -> None:
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name_of(database)} SET default_transaction_read_only = on")
    error = await refusal(database)
    assert isinstance(error, Unreachable)
    assert "target_session_attrs" in error.message


async def test_a_user_without_rights_is_said(postgres: PostgresServer, database: str) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE nobody_here LOGIN PASSWORD 'sesame'")
    error = await refusal(postgres.url(name_of(database), user="nobody_here", password="sesame"))
    assert isinstance(error, SettingsError)
    assert "GRANT" in error.message


async def test_an_option_of_no_meaning_is_said(database: str) -> None:
    error = await refusal(f"{database}?colour=blue")
    assert isinstance(error, SettingsError)
    assert "colour" in error.message


async def test_durability_is_never_less_than_asked_for(postgres: PostgresServer, database: str) -> None:
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name_of(database)} SET synchronous_commit = off")
    async with gateways(database, 1) as (store,):
        for lane in (store._writer, store._keeper):
            assert await lane.run(lambda one: one.exec_driver_sql("SHOW synchronous_commit").scalar_one()) == "on"


async def test_a_value_that_is_too_long_harms_no_other(database: str) -> None:
    async with gateways(database, 1) as (store,):
        long = JobRequest(task="m.t", input={}, owner="x" * 500)
        answers = await asyncio.gather(store.submit([long]), queue(store), return_exceptions=True)
        assert isinstance(answers[0], GlowplugError)
        assert not isinstance(answers[1], BaseException)
